"""The methods: functions from levels to rows, each beside the class that holds its options."""
