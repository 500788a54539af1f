const escapes: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\n": "&#10;" };

const escaped = (text: string, what: RegExp): string => text.replace(what, (character) => escapes[character]!);

/**
 * A figure as the text of an SVG file: well-formed XML, and the same in browsers and under a light DOM, whose own serialisers are made for
 * HTML and each have an order of attributes.
 */
export function svgMarkup(node: Element): string {
  const attributes = Array.from(node.attributes, ({ name, value }) => ` ${name}="${escaped(value, /[&<>"\n]/g)}"`)
    .toSorted()
    .join("");
  const children = Array.from(node.childNodes, (child) => {
    if (child.nodeType === 1) return svgMarkup(child as Element);
    return child.nodeType === 3 ? escaped(child.textContent ?? "", /[&<>]/g) : "";
  }).join("");
  return children === "" ? `<${node.localName}${attributes}/>` : `<${node.localName}${attributes}>${children}</${node.localName}>`;
}
