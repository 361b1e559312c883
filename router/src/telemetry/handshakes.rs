//! What is counted of TLS handshakes.

use super::counters::Counter;

/// Declares why handshakes fail in one table: variant, label.
macro_rules! failures {
    ($($(#[$doc:meta])* $variant:ident $label:literal;)*) => {
        /// Why a handshake failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Failed { $($(#[$doc])* $variant,)* }

        impl Failed {
            /// Every reason.
            pub const ALL: &[Failed] = &[$(Failed::$variant,)*];

            /// The label of the metric.
            pub const fn as_str(self) -> &'static str {
                match self { $(Failed::$variant => $label,)* }
            }
        }
    };
}

failures! {
    /// It took too long.
    Timeout "timeout";
    /// The client went, or its connection broke.
    Gone "gone";
    /// The client spoke HTTP in clear.
    PlainHttp "plain_http";
    /// There is no certificate for the host that the client named, or it named none.
    UnknownName "unknown_name";
    /// The client showed no certificate where one is required, or a bad one.
    ClientCertificate "client_certificate";
    /// There is no version, cipher suite or protocol that both speak.
    Incompatible "incompatible";
    /// The client refused: mostly because it does not trust the certificate.
    Refused "refused_by_client";
    /// What the client sent is not TLS.
    Protocol "protocol";
    /// The listener's certificates or authorities are not known.
    NotReady "not_ready";
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Version {
    /// Both.
    pub const ALL: [Version; 2] = [Version::Tls12, Version::Tls13];

    /// The label of the metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Version::Tls12 => "1.2",
            Version::Tls13 => "1.3",
        }
    }
}

/// What one thread counts of handshakes.
#[derive(Debug, Default)]
pub struct HandshakeCounters {
    /// Good ones, by version, and by whether a session was resumed.
    pub done: [[Counter; 2]; Version::ALL.len()],
    /// Others, by reason.
    pub failed: [Counter; Failed::ALL.len()],
    /// Begun and not over. Whole numbers, from the first of them to be subtracted the second.
    pub begun: Counter,
    /// Over, however they ended.
    pub ended: Counter,
}

impl HandshakeCounters {
    /// Counts a good one.
    pub fn is_done(&self, version: Version, is_resumed: bool) {
        if let Some(counter) = self.done.get(version as usize).and_then(|both| both.get(usize::from(is_resumed))) {
            counter.add(1);
        }
    }

    /// Counts one that failed.
    pub fn has_failed(&self, failed: Failed) {
        if let Some(counter) = self.failed.get(failed as usize) {
            counter.add(1);
        }
    }
}
