//! Every way in which the router itself refuses a request: a small closed set.
//!
//! One `match` maps each to its status, its stable machine-readable code and the text for the client, which says whose
//! fault it is and leaks nothing. What the log says is a different text, written where the reject arises.

use bytes::Bytes;
use http::StatusCode;

/// Declares the rejects in one table: variant, status, code, text for the client.
macro_rules! rejects {
    ($($(#[$doc:meta])* $variant:ident $status:ident $code:literal $text:literal;)*) => {
        /// Why a request was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reject { $($(#[$doc])* $variant,)* }

        impl Reject {
            /// Every reject, for the documentation and the metrics.
            pub const ALL: &[Reject] = &[$(Reject::$variant,)*];

            /// The status sent to the client.
            pub const fn status(self) -> StatusCode {
                match self { $(Reject::$variant => StatusCode::$status,)* }
            }

            /// The stable code: in the JSON body, in the header `x-gridrouter-reject`, and as metric label.
            pub const fn code(self) -> &'static str {
                match self { $(Reject::$variant => $code,)* }
            }

            /// The text for the client.
            pub const fn text(self) -> &'static str {
                match self { $(Reject::$variant => $text,)* }
            }

            /// The JSON body.
            pub fn body(self) -> Bytes {
                match self {
                    $(Reject::$variant => Bytes::from_static(
                        concat!(r#"{"error":{"code":""#, $code, r#"","message":""#, $text, "\"}}\n").as_bytes()),)*
                }
            }
        }
    };
}

rejects! {
    /// The head is not HTTP, or ambiguous in its framing, host or path.
    MalformedRequest BAD_REQUEST "malformed_request" "the request is malformed or ambiguous";
    /// The framing headers contradict each other or repeat.
    AmbiguousFraming BAD_REQUEST "ambiguous_framing" "the request's framing headers are ambiguous";
    /// No `Host`, more than one, or one that is not a host.
    BadHost BAD_REQUEST "bad_host" "the request's host is missing or invalid";
    /// The path has no normal form.
    BadPath BAD_REQUEST "bad_path" "the request's path is invalid or ambiguous";
    /// The request line is too long.
    UriTooLong URI_TOO_LONG "uri_too_long" "the request's target is too long";
    /// The head is too large.
    HeadTooLarge REQUEST_HEADER_FIELDS_TOO_LARGE "head_too_large" "the request's header fields are too large";
    /// The head did not arrive in time.
    HeadTimeout REQUEST_TIMEOUT "head_timeout" "the request's head did not arrive in time";
    /// The body stopped arriving.
    BodyTimeout REQUEST_TIMEOUT "body_timeout" "the request's body did not arrive in time";
    /// The body is larger than the route allows.
    BodyTooLarge PAYLOAD_TOO_LARGE "body_too_large" "the request's body is too large";
    /// A header's name has an underscore, and the listener refuses these.
    BadHeaderName BAD_REQUEST "bad_header_name" "a header's name has an underscore";
    /// A call's `grpc-timeout` is no time.
    BadGrpcTimeout BAD_REQUEST "bad_grpc_timeout" "the call's grpc-timeout is not one to eight digits and a unit";
    /// The listener does not admit the client's address.
    ClientDenied FORBIDDEN "client_denied" "the client's address is not admitted";
    /// CONNECT, TRACE or another method that is never routed.
    MethodNotAllowed NOT_IMPLEMENTED "method_not_supported" "the request's method is not supported";
    /// A protocol asked for by HTTP/2 (RFC 8441) that the route does not let pass.
    UpgradeNotSupported NOT_IMPLEMENTED "upgrade_not_supported" "the protocol asked for is not supported";
    /// An expectation other than `100-continue`.
    ExpectationFailed EXPECTATION_FAILED "expectation_failed" "the request's expectation cannot be met";
    /// No route matches.
    NoRoute NOT_FOUND "no_route" "no route matches the request";
    /// The route needs a tenant and the request names none.
    NoTenant BAD_REQUEST "no_tenant" "the request names no tenant";
    /// The request names a tenant twice, or not by a valid id.
    BadTenant BAD_REQUEST "bad_tenant" "the request's tenant id is invalid or ambiguous";
    /// A limit refused the request.
    LimitExceeded TOO_MANY_REQUESTS "limit_exceeded" "too many requests";
    /// The tenant's cell takes no requests.
    CellOffline SERVICE_UNAVAILABLE "cell_offline" "the service is not available at the moment";
    /// The tenant is being moved from one cell to another.
    TenantFenced SERVICE_UNAVAILABLE "tenant_fenced" "the service is not available at the moment; try again";
    /// No cell of the grid takes tenants.
    NoCell SERVICE_UNAVAILABLE "no_cell" "the service is not available at the moment";
    /// The service has no endpoint that could be used.
    NoEndpoint SERVICE_UNAVAILABLE "no_endpoint_available" "the service is not available at the moment";
    /// The router itself is short of file descriptors, ports or memory.
    RouterOverloaded SERVICE_UNAVAILABLE "router_overloaded" "the service is not available at the moment";
    /// No connection to the endpoint: refused or unreachable.
    UpstreamConnectFailed BAD_GATEWAY "upstream_connect_failed" "the service could not be reached";
    /// No connection to the endpoint in time.
    UpstreamConnectTimeout GATEWAY_TIMEOUT "upstream_connect_timeout" "the service could not be reached in time";
    /// The handshake with the endpoint failed: its certificate is not good, or it does not speak TLS.
    UpstreamTlsFailed BAD_GATEWAY "upstream_tls_failed" "the service could not be reached securely";
    /// The service says that its endpoints speak HTTP/2, and this one does not.
    UpstreamNoHttp2 BAD_GATEWAY "upstream_no_http2" "the service could not be spoken with";
    /// The endpoint does not change to the protocol asked for, and nothing that it could say besides would be understood so.
    UpstreamNoUpgrade BAD_GATEWAY "upstream_no_upgrade" "the service does not speak the protocol asked for";
    /// The endpoint closed the connection without an answer.
    UpstreamClosed BAD_GATEWAY "upstream_closed" "the service closed the connection without an answer";
    /// The endpoint's answer is not HTTP, or ambiguous.
    UpstreamProtocolError BAD_GATEWAY "upstream_protocol_error" "the service gave an invalid answer";
    /// The head of the answer did not arrive in time.
    UpstreamResponseTimeout GATEWAY_TIMEOUT "upstream_response_timeout" "the service did not answer in time";
    /// The whole request took too long.
    RequestTimeout GATEWAY_TIMEOUT "request_timeout" "the request took too long";
}

impl Reject {
    /// Its position in [`Reject::ALL`], for counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether a request that was being sent on failed for its client's or the router's own reasons, and not the
    /// endpoint's.
    pub const fn is_of_the_client(self) -> bool {
        matches!(self, Self::BodyTimeout | Self::BodyTooLarge | Self::MalformedRequest | Self::RouterOverloaded)
    }

    /// The whole answer as bytes, for what is no request that the pipeline could answer. It closes the connection.
    pub fn raw_response(self, with_body: bool) -> Vec<u8> {
        let (status, body) = (self.status(), self.body());
        let mut out = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nx-gridrouter-reject: {}\r\n\
             connection: close\r\n\r\n",
            status.as_str(),
            status.canonical_reason().unwrap_or_default(),
            body.len(),
            self.code(),
        )
        .into_bytes();
        if with_body {
            out.extend_from_slice(&body);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_readme_lists_every_code_with_its_status() {
        let readme = include_str!("../../../README.md");
        for reject in Reject::ALL {
            let code = format!("`{}`", reject.code());
            let line = readme.lines().find(|line| line.starts_with('|') && line.contains(&code));
            let line = line.unwrap_or_else(|| panic!("README.md does not list {code}"));
            assert!(line.contains(reject.status().as_str()), "{line}");
        }
    }

    #[test]
    fn codes_are_unique_and_bodies_are_json() {
        let mut codes = HashSet::new();
        for reject in Reject::ALL {
            assert!(codes.insert(reject.code()));
            assert_eq!(Reject::ALL[reject.index()], *reject);
            let body: serde_json::Value = serde_json::from_slice(&reject.body()).unwrap();
            assert_eq!(body["error"]["code"], reject.code());
            assert!(reject.status().is_client_error() || reject.status().is_server_error());
        }
    }
}
