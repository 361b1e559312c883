//! What is wrong with bytes that should be a message.

/// What made a message ambiguous, or no message at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// A line of the head ended in LF without CR (RFC 9112 §2.2).
    BareLineFeed,
    /// `Content-Length` and `Transfer-Encoding` in one message (§6.1).
    LengthAndTransferEncoding,
    /// More than one `Content-Length` line, equal or not (§6.3).
    RepeatedLength,
    /// A `Content-Length` that is not a plain decimal number (§6.2).
    BadLength,
    /// More than one `Transfer-Encoding` line, or one that is not exactly `chunked` (§6.1).
    BadTransferEncoding,
    /// `Transfer-Encoding` in a message of HTTP/1.0, which does not know it (§6.1).
    OldTransferEncoding,
    /// An interim response (1xx) that says how long it is (RFC 9110 §8.6).
    DelimitedInterim,
    /// A CONNECT with `:protocol` (RFC 8441 §4) that names none, says how long it is, or ends with its head.
    BadConnect,
    /// A target with `#` or with bytes that are not ASCII (§3.2).
    BadTarget,
    /// The request line is too long.
    LongTarget,
    /// The head has too many bytes or lines.
    LargeHead,
    /// Anything else: not a request or status line, not a header line.
    NotHttp,
}

impl Malformed {
    /// The same in words, for the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BareLineFeed => "a line ends in LF without CR",
            Self::LengthAndTransferEncoding => "both Content-Length and Transfer-Encoding",
            Self::RepeatedLength => "more than one Content-Length",
            Self::BadLength => "a Content-Length that is not a number",
            Self::BadTransferEncoding => "a Transfer-Encoding other than one plain `chunked`",
            Self::OldTransferEncoding => "a Transfer-Encoding in HTTP/1.0",
            Self::DelimitedInterim => "an interim response with a length or a coding",
            Self::BadConnect => "an extended CONNECT without a protocol, with a length, or at its end already",
            Self::BadTarget => "a target with a fragment or with bytes that are not ASCII",
            Self::LongTarget => "the request line is too long",
            Self::LargeHead => "the head has too many bytes or lines",
            Self::NotHttp => "not an HTTP/1.1 message",
        }
    }
}

/// The body of a message is not delimited as its head said, or its trailers are malformed: where it ends is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadBody;
