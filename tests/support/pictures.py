"""Read drawings back."""

from xml.etree import ElementTree

SVG = "{http://www.w3.org/2000/svg}"


class Picture:
    """What a drawing holds; parsing it shows that it is well formed."""

    def __init__(self, drawing):
        self.root = ElementTree.fromstring(drawing.svg)
        self.width, self.height = (float(self.root.get(name)) for name in ("width", "height"))
        self.title = self.root.find(f"{SVG}title").text
        self.texts = [each.text for each in self.root.iter(f"{SVG}text")]

    def told(self, start):
        """Return every group whose title starts so: what it tells, and its elements by tag."""
        found = []
        for group in self.root.iter(f"{SVG}g"):
            said, *parts = group
            if said.text.startswith(start):
                found.append((said.text, [(each.tag.removeprefix(SVG), each) for each in parts]))
        return found

    def stays_inside(self):
        """Whether no box and no text begins or ends outside; a letter counts as half its size."""
        for each in self.root.iter():
            if each.tag == f"{SVG}rect":
                x, y, w, h = (float(each.get(k, 0)) for k in ("x", "y", "width", "height"))
                inside = x >= 0 and y >= 0 and x + w <= self.width and y + h <= self.height
            elif each.tag == f"{SVG}text":
                x, y, size = (float(each.get(name)) for name in ("x", "y", "font-size"))
                long = 0.5 * size * len(each.text)
                x -= {"middle": long / 2, "end": long}.get(each.get("text-anchor"), 0)
                inside = x >= 0 and 0 <= y <= self.height and x + long <= self.width
            else:
                continue
            if not inside:
                return False
        return True
