//! Reading what is registered, once.

use super::super::backoff::Random;
use super::super::client::{Etcd, Kind, Trouble};
use super::super::options::EtcdOptions;
use super::super::runtime;
use crate::keys::end_of;
use crate::registrations;
use crate::store::StoreError;

/// One key below `live/endpoints/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The key without `live/endpoints/` and what is before it.
    pub key: String,
    /// The value, as it is.
    pub value: String,
    /// Why routers do not use it, if they do not.
    pub fault: Option<String>,
}

/// Every registration. Blocks; whatever member answers is asked.
pub fn endpoints(options: &EtcdOptions, mut random: Random) -> Result<Vec<Listed>, StoreError> {
    let runtime = runtime()?;
    let (below, first) = (options.keys().endpoints(), usize::try_from(random.number() >> 32).unwrap_or(0));
    let read = runtime.block_on(async {
        let mut trouble = Trouble::new(Kind::Failed, "etcd has no endpoints");
        for member in 0..options.endpoints.len() {
            let read = async {
                let etcd = Etcd::connect(options, first.wrapping_add(member)).await?;
                etcd.range(&below, &end_of(&below), 0).await
            };
            match read.await {
                Ok((found, _)) => return Ok(found),
                Err(error) => trouble = error,
            }
        }
        Err(trouble)
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let listed = read?.into_iter().map(|write| {
        let value = write.value.as_deref().unwrap_or_default();
        let fault = options.keys().endpoint_of(&write.key).and_then(|_| registrations::endpoint(value)).err();
        Listed { key: text(write.key.get(below.len()..).unwrap_or_default()), value: text(value), fault }
    });
    Ok(listed.collect())
}
