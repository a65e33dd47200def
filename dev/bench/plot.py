"""The bar chart beside the table: groups of bars, one for each client."""

from xml.sax.saxutils import escape

from .clients import FLOOR, OURS, versions

BAR, GAP, LEFT, WIDTH, HEAD = 16, 3, 190, 520, 26
COLOURS = {OURS: "#1a7f37", FLOOR: "#8c959f"}
OTHERS = "#54aeff"
# These colours can be read on a light page and on a dark one.
STYLE = "text{font:12px sans-serif;fill:#57606a}@media(prefers-color-scheme:dark){text{fill:#adbac7}}"


def svg(groups, caption):
    """Group → client → value, as an SVG document."""
    longest = max(max(bars.values()) for bars in groups.values())
    parts, y = [], HEAD
    for group, bars in groups.items():
        parts.append(_text(0, y + 12, group, bold=True))
        y += BAR + GAP
        for client, value in bars.items():
            length = WIDTH * value / longest
            parts.append(_text(LEFT - 8, y + 12, versions()[client], end=True))
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{COLOURS.get(client, OTHERS)}"/>')
            parts.append(_text(LEFT + length + 6, y + 12, f"{value:.2f} ×"))
            y += BAR + GAP
        y += 2 * GAP
    width = LEFT + WIDTH + 90
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" viewBox="0 0 {width} {y}" role="img">'
    title = f"<title>{escape(caption)}</title><style>{STYLE}</style>"
    return "\n".join([head, title, _text(0, 14, caption), *parts, "</svg>"]) + "\n"


HEIGHT = 240


def lines(series, colours, caption):
    """Name → (x, y) pairs, as an SVG document with a line for each name."""
    points = [point for pairs in series.values() for point in pairs]
    right, top = max(x for x, _ in points), max(y for _, y in points)

    def at(x, y):
        return LEFT / 3 + WIDTH * x / right, HEAD + HEIGHT * (1 - y / top)

    parts = []
    for share in (0, 0.5, 1):
        x, y = at(0, top * share)
        parts.append(f'<line x1="{x:.0f}" y1="{y:.0f}" x2="{x + WIDTH:.0f}" y2="{y:.0f}" stroke="#8c959f" stroke-width="0.5"/>')
        parts.append(_text(x - 8, y + 4, f"{top * share:.1f}", end=True))
    for x in sorted({x for x, _ in points}):
        parts.append(_text(at(x, 0)[0], HEAD + HEIGHT + 16, f"{x:,}", end=True))
    for name, pairs in series.items():
        placed = [at(*pair) for pair in sorted(pairs)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-width="2"/>')
        parts.append(_text(placed[-1][0] + 6, placed[-1][1] + 4, name))
    width, height = LEFT / 3 + WIDTH + 90, HEAD + HEIGHT + 26
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}" role="img">'
    title = f"<title>{escape(caption)}</title><style>{STYLE}</style>"
    return "\n".join([head, title, _text(0, 14, caption), *parts, "</svg>"]) + "\n"


def _text(x, y, text, bold=False, end=False):
    style = (' font-weight="bold"' if bold else "") + (' text-anchor="end"' if end else "")
    return f'<text x="{x:.0f}" y="{y}"{style}>{escape(text)}</text>'
