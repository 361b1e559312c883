//! Asking DNS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RecordType;

use super::book::Answer;

/// What the system says of its resolvers, and of names itself.
const SYSTEM: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
/// How long one server may take, and how often it is asked.
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// When each of the system's files was changed, where that is known.
type Changed = [Option<SystemTime>; 2];

fn changed(files: [&str; 2]) -> Changed {
    files.map(|file| std::fs::metadata(file).and_then(|found| found.modified()).ok())
}

/// Asks the name servers that were said, or else the system's.
#[derive(Debug)]
pub(super) struct Lookup {
    nameservers: Vec<SocketAddr>,
    /// With when the system's settings were changed that it was made from.
    made: Option<(TokioResolver, Changed)>,
}

impl Lookup {
    pub(super) fn new(nameservers: Vec<SocketAddr>) -> Self {
        Self { nameservers, made: None }
    }

    /// The resolver. The system's settings may change while the process runs.
    fn resolver(&mut self) -> Result<TokioResolver, String> {
        let changed = changed(SYSTEM);
        if let Some((resolver, at)) = &self.made
            && (*at == changed || !self.nameservers.is_empty())
        {
            return Ok(resolver.clone());
        }
        let resolver = self.make().map_err(|error| format!("no resolver can be made: {error}"))?;
        self.made = Some((resolver.clone(), changed));
        Ok(resolver)
    }

    fn make(&self) -> Result<TokioResolver, NetError> {
        let mut builder = if self.nameservers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let servers = self.nameservers.iter().map(server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        // Whoever asks knows itself how long an answer holds.
        options.cache_size = 0;
        (options.timeout, options.attempts) = (TIMEOUT, ATTEMPTS);
        if !self.nameservers.is_empty() {
            // They are asked instead of the system.
            options.use_hosts_file = ResolveHosts::Never;
        }
        builder.build()
    }

    /// Asks for both families of a name's addresses.
    pub(super) fn of(&mut self, name: Arc<str>) -> impl Future<Output = (Arc<str>, Answer, Answer)> + Send + 'static {
        let resolver = self.resolver();
        async move {
            let resolver = match resolver {
                Ok(resolver) => resolver,
                Err(error) => return (name, Answer::Failed(error.clone()), Answer::Failed(error)),
            };
            let ask = |kind| resolver.lookup(&*name, kind);
            let (v4, v6) = tokio::join!(ask(RecordType::A), ask(RecordType::AAAA));
            let answers = [v4, v6].map(|found| match found {
                Ok(found) => {
                    let addresses: Vec<IpAddr> =
                        found.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
                    Answer::Addresses(addresses, found.valid_until().saturating_duration_since(Instant::now()))
                }
                Err(error) if error.is_no_records_found() => Answer::None,
                Err(error) => Answer::Failed(error.to_string()),
            });
            let [v4, v6] = answers;
            (name, v4, v6)
        }
    }
}

/// A name server at an address and port, asked by UDP, and by TCP where an answer is too long for that.
fn server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}
