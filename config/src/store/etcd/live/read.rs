//! Reading what is registered, once.

use super::super::backoff::Random;
use super::super::client::{Etcd, Kind, Trouble};
use super::super::options::EtcdOptions;
use super::super::runtime;
use crate::keys::end_of;
use crate::registrations::{Book, Registrations};
use crate::store::StoreError;

/// One key below `live/endpoints/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The key without `live/endpoints/` and what is before it.
    pub key: String,
    /// The value, as it is.
    pub value: String,
}

/// Every registration, with what routers make of all of them. Blocks; whatever member answers is asked.
pub fn endpoints(options: &EtcdOptions, mut random: Random) -> Result<(Vec<Listed>, Registrations), StoreError> {
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
    let found = read?;
    let mut book = Book::default();
    let value = |write: &super::super::image::Write| write.value.clone().unwrap_or_default();
    let all: Vec<_> = found.iter().map(|write| (write.key.as_slice(), value(write), write.revision)).collect();
    book.replace(options.keys(), all.iter().map(|(key, value, revision)| (*key, &**value, *revision)));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let listed = all
        .iter()
        .map(|(key, value, _)| Listed { key: text(key.get(below.len()..).unwrap_or_default()), value: text(value) });
    Ok((listed.collect(), book.settle(&Registrations::default()).unwrap_or_default()))
}
