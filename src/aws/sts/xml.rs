//! Reading XML of a known shape, without regard to namespaces.

use roxmltree::{Document, Node, ParsingOptions};

/// More than any answer of STS by far; the body's own limit bounds the rest.
const MOST_NODES: u32 = 4096;

/// Parses a body. A document type, with which entities could be declared, is refused. The parser
/// does not recurse, so that nesting costs no stack. What is wrong is told by kind and place: the
/// parser's own words may quote the body. Texts are borrowed from the body, save those with
/// entities in them, which keys and tokens never have.
pub(super) fn parse(body: &str) -> Result<Document<'_>, String> {
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: MOST_NODES,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(body, options).map_err(|error| match error {
        roxmltree::Error::DtdDetected => "XML with a document type, which is refused".to_owned(),
        roxmltree::Error::NodesLimitReached => {
            format!("XML of more than {MOST_NODES} elements and texts")
        }
        _ => "not XML, or XML that breaks off".to_owned(),
    })
}

/// The child of this name, whatever its namespace. The first, where there are several.
pub(super) fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children()
        .find(|child| child.is_element() && child.tag_name().name() == name)
}

/// The text of the child of this name; nothing if it is empty, or anything but one text.
pub(super) fn text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let mut children = child(node, name)?.children();
    match (children.next(), children.next()) {
        (Some(text), None) if text.is_text() => text.text().filter(|text| !text.is_empty()),
        _ => None,
    }
}
