"""Plots of a search: its page, pictures of the front and of the importances, a Plotly figure.

`page.to_html` is one page that works offline, `front.to_png` a picture, `interactive.front_figure`
the front for a notebook. All show the same points (`points`); each other module draws one figure.
"""
