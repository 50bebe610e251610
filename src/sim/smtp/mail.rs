//! One mail as it came, and as a person would read it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A delivered mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Headers and body as sent.
    pub raw: String,
    /// Whether the client was told that it arrived.
    pub acknowledged: bool,
    /// Who had logged in.
    pub user: Option<String>,
}

impl Mail {
    /// All headers, unfolded and decoded, in order.
    pub fn headers(&self) -> Vec<(String, String)> {
        headers(split(&self.raw).0)
    }

    /// The first header of this name, unfolded and decoded.
    pub fn header(&self, name: &str) -> Option<String> {
        find(&self.headers(), name)
    }

    /// The subject, or nothing.
    pub fn subject(&self) -> String {
        self.header("subject").unwrap_or_default()
    }

    /// The first part of type `text/plain` (or the body of a mail without parts), decoded.
    pub fn text(&self) -> String {
        self.parts().into_iter().find(|(kind, _)| kind.starts_with("text/plain")).unwrap_or_default().1
    }

    /// The first part of type `text/html`, decoded.
    pub fn html(&self) -> Option<String> {
        self.parts().into_iter().find(|(kind, _)| kind.starts_with("text/html")).map(|(_, text)| text)
    }

    /// Every part that is not itself made of parts: its type and decoded text.
    pub fn parts(&self) -> Vec<(String, String)> {
        parts(&self.raw)
    }
}

fn parts(entity: &str) -> Vec<(String, String)> {
    let (head, body) = split(entity);
    let headers = headers(head);
    let kind = find(&headers, "content-type").unwrap_or_else(|| "text/plain".to_owned());
    if let Some(boundary) = boundary(&kind) {
        let fence = format!("--{boundary}");
        let inner = body.split(&fence).skip(1).take_while(|part| !part.starts_with("--"));
        // The line ends on both sides of a part belong to the fence.
        let bare = inner.map(|part| part.strip_prefix("\r\n").unwrap_or(part));
        return bare.flat_map(|part| parts(part.strip_suffix("\r\n").unwrap_or(part))).collect();
    }
    let text = match find(&headers, "content-transfer-encoding").unwrap_or_default().to_lowercase().as_str() {
        "base64" => from_base64(body),
        "quoted-printable" => from_quoted_printable(body, false),
        _ => body.to_owned(),
    };
    vec![(kind.to_lowercase(), text)]
}

fn split(entity: &str) -> (&str, &str) {
    entity.split_once("\r\n\r\n").unwrap_or((entity, ""))
}

fn headers(head: &str) -> Vec<(String, String)> {
    let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let lines = unfolded.split("\r\n").filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), decoded_words(value.trim()))).collect()
}

fn find(headers: &[(String, String)], name: &str) -> Option<String> {
    headers.iter().find(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
}

fn boundary(kind: &str) -> Option<String> {
    let parameter = kind.split(';').find_map(|piece| piece.trim().strip_prefix("boundary="));
    parameter.filter(|_| kind.starts_with("multipart/")).map(|text| text.trim_matches('"').to_owned())
}

/// RFC 2047: `=?utf-8?b?…?=` and `=?utf-8?q?…?=`; white space between two of them is none.
fn decoded_words(value: &str) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("=?") {
        let mut fields = after.splitn(4, '?');
        let (Some(_), Some(how), Some(word), Some(tail)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            break;
        };
        let Some(tail) = tail.strip_prefix('=') else { break };
        if !before.trim().is_empty() || text.is_empty() {
            text.push_str(before);
        }
        let base64 = how.eq_ignore_ascii_case("b");
        text.push_str(&if base64 { from_base64(word) } else { from_quoted_printable(word, true) });
        rest = tail;
    }
    text + rest
}

fn from_base64(text: &str) -> String {
    let compact: String = text.split_whitespace().collect();
    String::from_utf8_lossy(&STANDARD.decode(compact).unwrap_or_default()).into_owned()
}

/// RFC 2045; in a header, `_` is a space.
fn from_quoted_printable(text: &str, in_header: bool) -> String {
    let joined = text.replace("=\r\n", "");
    let mut bytes = Vec::with_capacity(joined.len());
    let mut rest = joined.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = tail.get(..2).filter(|_| byte == b'=').and_then(|pair| std::str::from_utf8(pair).ok());
        if let Some(byte) = code.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(if in_header && byte == b'_' { b' ' } else { byte });
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(raw: &str) -> Mail {
        let (from, to, raw) = (String::new(), Vec::new(), raw.replace('\n', "\r\n"));
        Mail { from, to, raw, acknowledged: true, user: None }
    }

    #[test]
    fn folded_and_encoded_headers_read_plainly() {
        let mail = mail("Subject: =?utf-8?b?U2NobMO8c3NlbA==?=\n =?utf-8?q?_f=C3=BCr?= you\nTo: a@b\n\nhi\n");
        assert_eq!(mail.subject(), "Schlüssel für you");
        assert_eq!(mail.header("TO").as_deref(), Some("a@b"));
        assert_eq!(mail.text(), "hi\r\n");
    }

    #[test]
    fn both_alternatives_are_found_and_decoded() {
        let mail = mail(
            "Content-Type: multipart/alternative; boundary=\"x\"\n\n--x\nContent-Type: text/plain; \
             charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\na=3Db=\nc=C3=A4\n--x\nContent-Type: \
             text/html\nContent-Transfer-Encoding: base64\n\nPGI+\n--x--\n",
        );
        assert_eq!(mail.text().trim_end(), "a=bcä");
        assert_eq!(mail.html().as_deref(), Some("<b>"));
    }
}
