//! The answers of the fake AWS, honest or not, as bytes.

use serde_json::Value;

/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
const STS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// The id of every request.
pub(super) const REQUEST: &str = "5c1ad0e5-7c1c-4b3e-9d3c-0123456789ab";

/// As the text of an XML element.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// An answer, and how it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    framing: Framing,
    pub(super) flow: Flow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    UntilClose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Whole,
    Cut(usize),
    Pause(usize),
    EndlessHead,
    EndlessBody,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            framing: Framing::Length,
            flow: Flow::Whole,
        }
    }

    pub(crate) fn text(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200).saying(body)
    }

    pub(crate) fn json(body: &Value) -> Self {
        Self::text(body.to_string()).with("Content-Type", "application/json")
    }

    /// The connection ends without a word.
    pub(crate) fn hang_up() -> Self {
        Self::status(200).cut_at(0)
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn saying(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The answer with one field of its body changed; `null` stays `null`.
    pub(crate) fn with_field(self, name: &str, value: impl Into<Value>) -> Self {
        let mut body: Value = serde_json::from_slice(&self.body).unwrap();
        body[name] = value.into();
        self.saying(body.to_string())
    }

    pub(crate) fn without_field(self, name: &str) -> Self {
        let mut body: Value = serde_json::from_slice(&self.body).unwrap();
        body.as_object_mut().unwrap().remove(name);
        self.saying(body.to_string())
    }

    pub(crate) fn xml(body: impl Into<Vec<u8>>) -> Self {
        Self::text(body).with("Content-Type", "text/xml")
    }

    /// As STS refuses.
    pub(crate) fn sts_error(status: u16, code: &str, message: &str) -> Self {
        let kind = if status < 500 { "Sender" } else { "Receiver" };
        let mut reply = Self::xml(format!(
            "<ErrorResponse xmlns=\"{STS}\">\n  <Error>\n    <Type>{kind}</Type>\n    \
             <Code>{code}</Code>\n    <Message>{}</Message>\n  </Error>\n  \
             <RequestId>{REQUEST}</RequestId>\n</ErrorResponse>\n",
            escaped(message)
        ));
        reply.status = status;
        reply
    }

    /// As STS grants `action`, with `result` as XML.
    pub(crate) fn sts_result(action: &str, result: &str) -> Self {
        Self::xml(format!(
            "<{action}Response xmlns=\"{STS}\">\n  <{action}Result>\n{result}  \
             </{action}Result>\n  <ResponseMetadata>\n    <RequestId>{REQUEST}</RequestId>\n  \
             </ResponseMetadata>\n</{action}Response>\n"
        ))
    }

    /// The answer with the text of the first such element of its XML changed.
    pub(crate) fn with_element(self, name: &str, text: &str) -> Self {
        let (before, _, after) = self.around_element(name);
        let body = format!("{before}<{name}>{}</{name}>{after}", escaped(text));
        self.saying(body)
    }

    pub(crate) fn without_element(self, name: &str) -> Self {
        let (before, _, after) = self.around_element(name);
        self.saying(before + &after)
    }

    /// The text of the first such element of its XML, as it stands.
    pub(crate) fn element(&self, name: &str) -> String {
        self.around_element(name).1
    }

    fn around_element(&self, name: &str) -> (String, String, String) {
        let body = str::from_utf8(&self.body).unwrap();
        let (before, rest) = body.split_once(&format!("<{name}>")).unwrap();
        let (text, after) = rest.split_once(&format!("</{name}>")).unwrap();
        (before.to_owned(), text.to_owned(), after.to_owned())
    }

    pub(crate) fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    /// Without a length: the end of the connection is the end of the body.
    pub(crate) fn until_close(mut self) -> Self {
        self.framing = Framing::UntilClose;
        self
    }

    /// Breaks off after so many bytes, head included.
    pub(crate) fn cut_at(mut self, bytes: usize) -> Self {
        self.flow = Flow::Cut(bytes);
        self
    }

    /// Breaks off just before the last byte.
    pub(crate) fn cut_at_the_end(self) -> Self {
        let length = self.length();
        self.cut_at(length - 1)
    }

    /// Goes on after so many bytes only when told to.
    pub(crate) fn pausing_at(mut self, bytes: usize) -> Self {
        self.flow = Flow::Pause(bytes);
        self
    }

    pub(crate) fn pausing_at_once(self) -> Self {
        self.pausing_at(0)
    }

    pub(crate) fn pausing_in_the_body(self) -> Self {
        let length = self.length();
        self.pausing_at(length - 10)
    }

    pub(crate) fn endless_head(mut self) -> Self {
        self.flow = Flow::EndlessHead;
        self
    }

    pub(crate) fn endless_body(mut self) -> Self {
        self.flow = Flow::EndlessBody;
        self
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Of head and body.
    pub(crate) fn length(&self) -> usize {
        self.bytes().len()
    }

    pub(super) fn head(&self) -> Vec<u8> {
        let mut lines = vec![format!("HTTP/1.1 {} Whatever", self.status)];
        let headers = self.headers.iter();
        lines.extend(headers.map(|(name, value)| format!("{name}: {value}")));
        match self.framing {
            Framing::Length => lines.push(format!("Content-Length: {}", self.body.len())),
            Framing::Chunked => lines.push("Transfer-Encoding: chunked".to_owned()),
            Framing::UntilClose => {}
        }
        lines.push("Connection: close\r\n\r\n".to_owned());
        lines.join("\r\n").into_bytes()
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        if self.framing == Framing::Chunked {
            for piece in self.body.chunks(100) {
                bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}
