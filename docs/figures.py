"""What the site's build does with the gallery's figures."""


def whole_figures(block, block_vars, gallery_conf):
    """Save the figures of a block, but refuse one with an axis that holds nothing.

    A figure is saved after the block that makes it: what a later block draws is not in the picture.
    """
    from matplotlib import pyplot as plt
    from sphinx_gallery.scrapers import matplotlib_scraper

    for number in plt.get_fignums():
        for place, axes in enumerate(plt.figure(number).axes, start=1):
            if axes.axison and not (axes.has_data() or axes.texts):
                raise ValueError(
                    f"figure {number} of {block_vars['src_file']} has nothing on axis {place} "
                    f"after line {block[2]}: draw all of a figure in one block"
                )
    return matplotlib_scraper(block, block_vars, gallery_conf)
