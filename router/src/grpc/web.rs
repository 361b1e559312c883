//! gRPC-Web (PROTOCOL-WEB.md): calls of clients that see no trailers, which browsers are. The endpoint gets a call of gRPC; its
//! trailers go to the client as the last message of the body. Pieces are translated as they come, and none is kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, Bytes, BytesMut};
use gridrouter_config::model::Action;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{Dialect, Ending, GRPC, MESSAGE, PUSHBACK, STATUS, deadline, is_grpc};
use crate::clock::Nanos;
use crate::http::connection::Connection;
use crate::http::fields::{Fields, Known};
use crate::http::reject::Reject;
use crate::http1::encode::may_be_trailer;
use crate::http1::request::Head;
use crate::snapshot::RoutePlan;

const WEB: &[u8] = b"application/grpc-web";
const WEB_TEXT: &[u8] = b"application/grpc-web-text";
/// The status with its details, in an endpoint's answer.
const DETAILS: &str = "grpc-status-details-bin";
/// What the last message begins with: the topmost bit says that it is trailers.
const TRAILERS: u8 = 0x80;

/// Which bodies of a call are text: pieces in base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) text_in: bool,
    pub(crate) text_out: bool,
}

/// What stands behind one of the types of content, if it is this one.
fn behind<'a>(content_type: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let (name, rest) = content_type.split_at_checked(wanted.len())?;
    let is_it = name.eq_ignore_ascii_case(wanted) && rest.first().is_none_or(|byte| b"+;".contains(byte));
    is_it.then_some(rest)
}

impl Form {
    /// That of a request, if it is gRPC-Web's. Who wants text back says so in `Accept`; who says nothing there gets what it sends.
    fn of(fields: &Fields) -> Option<Self> {
        let content_type = fields.get(header::CONTENT_TYPE)?;
        let text_in = behind(content_type, WEB_TEXT).is_some();
        if !text_in && behind(content_type, WEB).is_none() {
            return None;
        }
        let accepts = |wanted: &[u8]| {
            let ranges = fields.get_all("accept").flat_map(|line| line.split(|byte| *byte == b','));
            ranges.map(<[u8]>::trim_ascii).any(|range| behind(range, wanted).is_some())
        };
        Some(Self { text_in, text_out: accepts(WEB_TEXT) || (text_in && !accepts(WEB)) })
    }

    fn content_type(self) -> &'static [u8] {
        if self.text_out { WEB_TEXT } else { WEB }
    }
}

/// Notes that a request speaks gRPC-Web, where its route is for that, and its deadline: see [`deadline::note`]. What asks for another
/// protocol is no call, whatever its content is said to be: an answer of 200 would say that there is a tunnel.
pub(crate) fn notice(
    connection: &Connection,
    route: &RoutePlan,
    head: &Head,
    now: Nanos,
) -> Result<(), (Reject, &'static str)> {
    let is_wanted = matches!(&route.document.action, Action::Forward(forward) if forward.grpc_web);
    if !is_wanted || head.upgrades || connection.dialect.get() != Dialect::Plain {
        return Ok(());
    }
    let Some(form) = Form::of(&head.fields) else { return Ok(()) };
    connection.dialect.set(Dialect::Web(form));
    deadline::note(connection, &head.fields, now)
}

/// Makes the head of a request that of a call.
pub(crate) fn call(form: Form, fields: &mut Fields) {
    let of = if form.text_in { WEB_TEXT } else { WEB };
    let rest = fields.get(header::CONTENT_TYPE).and_then(|value| behind(value, of)).unwrap_or_default();
    let content_type = [GRPC, rest].concat();
    fields.insert(header::CONTENT_TYPE, content_type);
    fields.set(Known::Te, b"trailers");
    if form.text_in && fields.has(Known::ContentLength) {
        // What is sent on is shorter.
        fields.retain(|known, _| known != Known::ContentLength);
        fields.set(Known::TransferEncoding, b"chunked");
    }
}

/// Reads base64 piece by piece, wherever it is cut, with padding wherever a sender had nothing more for the moment.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Letters of a group that has not come whole.
    begun: BytesMut,
}

/// What came is no base64.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoText;

impl Decoder {
    /// Reads what is whole by now.
    pub(crate) fn decode(&mut self, text: &[u8]) -> Result<Bytes, NoText> {
        self.begun.extend_from_slice(text);
        let whole = self.begun.split_to(self.begun.len() / 4 * 4);
        let mut decoded = Vec::with_capacity(whole.len() / 4 * 3);
        // Up to and with each padding it is one text in itself.
        let mut rest = &whole[..];
        while !rest.is_empty() {
            let groups = rest.as_chunks::<4>().0;
            let padded = groups.iter().position(|group| group.ends_with(b"="));
            let length = padded.map_or(rest.len(), |group| (group + 1) * 4);
            let (one, behind) = rest.split_at_checked(length).ok_or(NoText)?;
            STANDARD.decode_vec(one, &mut decoded).map_err(|_| NoText)?;
            rest = behind;
        }
        Ok(decoded.into())
    }

    /// Nothing more comes. The error: something is missing.
    pub(crate) fn finish(&self) -> Result<(), NoText> {
        if self.begun.has_remaining() { Err(NoText) } else { Ok(()) }
    }
}

/// Writes an answer's body as its client reads it.
#[derive(Debug)]
pub(crate) struct Encoder {
    form: Form,
    /// Lines of the last message that the answer's head had.
    ahead: Vec<u8>,
    borders: Borders,
    is_over: bool,
}

/// How many bytes stand before a message: flags and its length.
const HEAD: usize = 5;

/// Where messages end.
#[derive(Debug, Default)]
struct Borders {
    /// What has come of a message's head, and how much that is.
    head: [u8; HEAD],
    begun: usize,
    /// How much of the message is still to come.
    left: usize,
}

impl Borders {
    fn pass(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let of_message = self.left.min(data.len());
            self.left -= of_message;
            data = data.get(of_message..).unwrap_or_default();
            for byte in data.iter().take(HEAD - self.begun) {
                self.head.rotate_left(1);
                self.head[HEAD - 1] = *byte;
                self.begun += 1;
                data = data.get(1..).unwrap_or_default();
            }
            if self.begun == HEAD {
                let [_, length @ ..] = self.head;
                (self.left, self.begun) = (u32::from_be_bytes(length) as usize, 0);
            }
        }
    }

    fn is_within(&self) -> bool {
        self.left > 0 || self.begun > 0
    }
}

impl Encoder {
    /// For an answer with this head, which is changed to what the client gets. None where it is no answer of gRPC's: that passes as it
    /// is, and clients go by its status.
    pub(crate) fn of_answer(form: Form, status: StatusCode, fields: &mut Fields) -> Option<Box<Self>> {
        let content_type =
            fields.get(header::CONTENT_TYPE).filter(|value| status == StatusCode::OK && is_grpc(value))?;
        let content_type = [form.content_type(), content_type.get(GRPC.len()..).unwrap_or_default()].concat();
        let mut ahead = Vec::new();
        // An answer that is all trailers has its status in the head. Scripts see of a head only what the service allows them to;
        // the body they always see.
        for name in [STATUS, MESSAGE, DETAILS, PUSHBACK] {
            if let Some(value) = fields.get(name) {
                line(&mut ahead, name, value);
                fields.remove(name);
            }
        }
        fields.insert(header::CONTENT_TYPE, content_type);
        fields.retain(|known, name| known != Known::ContentLength && name != b"trailer");
        Some(Box::new(Self { form, ahead, borders: Borders::default(), is_over: false }))
    }

    /// A piece of the body.
    pub(crate) fn data(&mut self, data: Bytes) -> Bytes {
        self.borders.pass(&data);
        self.encoded(data)
    }

    /// Whether a message has come in part. What is written now, its client takes for the rest of it.
    pub(crate) fn is_within_message(&self) -> bool {
        self.borders.is_within()
    }

    fn encoded(&self, data: Bytes) -> Bytes {
        if self.form.text_out { STANDARD.encode(data).into() } else { data }
    }

    /// The last message: the trailers, as far as they may be passed on. None if there was one. A call without a status has failed,
    /// which clients of gRPC know, and some of gRPC-Web do not.
    pub(crate) fn end(&mut self, trailers: Option<&HeaderMap>) -> Option<Bytes> {
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        let mut lines = std::mem::take(&mut self.ahead);
        if trailers.is_some_and(|trailers| trailers.contains_key(STATUS)) {
            // What stands behind the messages knows better.
            lines.clear();
        } else if !lines.starts_with(STATUS.as_bytes()) {
            line(&mut lines, STATUS, b"2");
            line(&mut lines, MESSAGE, b"the answer has no status");
        }
        for (name, value) in trailers.into_iter().flatten().filter(|(name, _)| may_be_trailer(name)) {
            line(&mut lines, name.as_str(), value.as_bytes());
        }
        Some(self.encoded(message(&lines)))
    }

    /// Whether the last message was written.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }
}

fn line(into: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        into.extend_from_slice(part);
    }
}

/// A message of trailers: flags, length, lines.
fn message(lines: &[u8]) -> Bytes {
    let mut message = Vec::with_capacity(lines.len() + 5);
    message.push(TRAILERS);
    message.extend_from_slice(&u32::try_from(lines.len()).unwrap_or(u32::MAX).to_be_bytes());
    message.extend_from_slice(lines);
    message.into()
}

/// The type and the body of an answer that is nothing but an ending.
pub(crate) fn ending(form: Form, ending: Ending) -> (HeaderValue, Bytes) {
    let content_type = if form.text_out { "application/grpc-web-text+proto" } else { "application/grpc-web+proto" };
    let mut encoder = Encoder { form, ahead: Vec::new(), borders: Borders::default(), is_over: false };
    let body = encoder.end(Some(&ending.trailers())).unwrap_or_default();
    (HeaderValue::from_static(content_type), body)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn fields(lines: &[(&str, &str)]) -> Fields {
        lines.iter().copied().collect()
    }

    #[test]
    fn the_form_is_what_was_sent_unless_another_is_asked_for() {
        let of = |content_type, accept| Form::of(&fields(&[("content-type", content_type), ("accept", accept)]));
        let form = |text_in, text_out| Some(Form { text_in, text_out });
        assert_eq!(of("application/grpc-web", "*/*"), form(false, false));
        assert_eq!(of("application/grpc-web+proto", "application/grpc-web-text"), form(false, true));
        assert_eq!(of("Application/gRPC-Web-Text", "*/*"), form(true, true));
        assert_eq!(of("application/grpc-web-text+proto", "a/b, application/grpc-web+proto"), form(true, false));
        for other in ["application/grpc", "application/grpc-webx", "application/grpc-web-textual", "text/plain"] {
            assert_eq!(of(other, "application/grpc-web-text"), None, "{other}");
        }
    }

    #[test]
    fn a_request_becomes_a_call() {
        let mut text = fields(&[("content-type", "application/grpc-web-text+proto; a=b"), ("content-length", "8")]);
        call(Form { text_in: true, text_out: true }, &mut text);
        assert_eq!(text.get("content-type"), Some(&b"application/grpc+proto; a=b"[..]));
        assert_eq!((text.get("te"), text.get("content-length")), (Some(&b"trailers"[..]), None));
        let mut plain = fields(&[("content-type", "application/grpc-web"), ("content-length", "8")]);
        call(Form { text_in: false, text_out: false }, &mut plain);
        assert_eq!(
            (plain.get("content-type"), plain.get("content-length")),
            (Some(&b"application/grpc"[..]), Some(&b"8"[..]))
        );
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for bad in ["!!!!", "QQ=A", "QUJD\n", "=QUJ", "Q===", "QUI\u{e4}"] {
            let mut decoder = Decoder::default();
            let read = decoder.decode(bad.as_bytes()).and_then(|_| decoder.finish());
            assert_eq!(read, Err(NoText), "{bad:?}");
        }
    }

    #[test]
    fn the_status_of_a_head_goes_behind() {
        let form = Form { text_in: false, text_out: false };
        let mut head = fields(&[
            ("content-type", "application/grpc+proto"),
            ("grpc-status", "5"),
            ("grpc-message", "none"),
            ("x-mine", "1"),
            ("content-length", "0"),
        ]);
        let mut encoder = Encoder::of_answer(form, StatusCode::OK, &mut head).unwrap();
        assert_eq!(head, fields(&[("x-mine", "1"), ("content-type", "application/grpc-web+proto")]));
        assert_eq!(encoder.end(None).unwrap(), &b"\x80\x00\x00\x00\x24grpc-status: 5\r\ngrpc-message: none\r\n"[..]);
        assert_eq!((encoder.end(None), encoder.is_over()), (None, true));
        let mut html = fields(&[("content-type", "text/html")]);
        assert!(Encoder::of_answer(form, StatusCode::OK, &mut html).is_none());
        let mut failed = fields(&[("content-type", "application/grpc")]);
        assert!(Encoder::of_answer(form, StatusCode::BAD_GATEWAY, &mut failed).is_none());
    }

    #[test]
    fn an_answer_without_a_status_has_failed() {
        let form = Form { text_in: false, text_out: false };
        let encoder = |lines: &[(&str, &str)]| {
            let mut head = fields(&[&[("content-type", "application/grpc")], lines].concat());
            Encoder::of_answer(form, StatusCode::OK, &mut head).unwrap()
        };
        let text = |bytes: Option<Bytes>| String::from_utf8(bytes.unwrap().split_off(HEAD).to_vec()).unwrap();
        let none = "grpc-status: 2\r\ngrpc-message: the answer has no status\r\n";
        assert_eq!(text(encoder(&[]).end(None)), none);
        let trailers = |status: &'static str| {
            HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static(status))])
        };
        assert_eq!(text(encoder(&[]).end(Some(&trailers("0")))), "grpc-status: 0\r\n");
        assert_eq!(
            text(encoder(&[("grpc-status", "0"), ("grpc-message", "x")]).end(Some(&trailers("5")))),
            "grpc-status: 5\r\n"
        );
    }

    proptest::proptest! {
        /// However messages are cut, it is known when one of them has come in part.
        #[test]
        fn borders_are_found(
            sizes in proptest::collection::vec(0_usize..300, 1..8),
            cuts in proptest::collection::vec(1..400_usize, 1..20),
        ) {
            let (mut body, mut ends) = (Vec::new(), vec![0]);
            for size in sizes {
                body.push(0);
                body.extend_from_slice(&(size as u32).to_be_bytes());
                body.resize(body.len() + size, 0xff);
                ends.push(body.len());
            }
            let (mut borders, mut at) = (Borders::default(), 0);
            for cut in cuts.iter().cycle() {
                let to = (at + cut).min(body.len());
                borders.pass(&body[at..to]);
                at = to;
                proptest::prop_assert_eq!(borders.is_within(), !ends.contains(&at));
                if at == body.len() {
                    break;
                }
            }
        }

        /// However a text is cut, and wherever a piece of it was padded, the same bytes come out.
        #[test]
        fn text_is_read_wherever_it_is_cut(
            pieces in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..20), 0..6),
            cuts in proptest::collection::vec(1..9_usize, 1..20),
        ) {
            let text: String = pieces.iter().map(|piece| STANDARD.encode(piece)).collect();
            let (mut decoder, mut read, mut rest) = (Decoder::default(), Vec::new(), text.as_bytes());
            for cut in cuts.iter().cycle() {
                let (piece, behind) = rest.split_at((*cut).min(rest.len()));
                read.extend_from_slice(&decoder.decode(piece).unwrap());
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            proptest::prop_assert_eq!(read, pieces.concat());
            proptest::prop_assert_eq!(decoder.finish(), Ok(()));
        }
    }
}
