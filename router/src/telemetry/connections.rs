//! What is counted of clients' connections that ended.

use super::counters::Counter;

/// Declares why something ended, with the words for it.
macro_rules! reasons {
    ($(#[$enum_doc:meta])* $name:ident $($(#[$doc:meta])* $variant:ident $word:literal;)*) => {
        $(#[$enum_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every reason.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// As metrics and logs say it.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }
    };
}
pub(super) use reasons;

reasons! {
    /// Why a client's connection ended that was not upgraded.
    Ended
    /// The client closed or reset it.
    Client "client";
    /// Nothing was asked for too long.
    Idle "idle";
    /// An answer was its last, as the client, the endpoint or the answer's own form wanted it.
    Answered "answered";
    /// What came was no request, or not in time.
    Refused "refused";
    /// An answer broke off, which only the connection's end can say.
    BrokenOff "broken_off";
    /// The client asked for nothing all the time.
    Flood "flood";
    /// The router stops, or its listener is gone.
    Drained "drained";
}

/// What one thread counts of connections that ended, by reason.
#[derive(Debug, Default)]
pub struct ConnectionCounters([Counter; Ended::ALL.len()]);

impl ConnectionCounters {
    pub(crate) fn ended(&self, why: Ended) {
        if let Some(counter) = self.0.get(why as usize) {
            counter.add(1);
        }
    }

    /// How many ended for this reason.
    pub fn get(&self, why: Ended) -> u64 {
        self.0.get(why as usize).map_or(0, Counter::get)
    }
}
