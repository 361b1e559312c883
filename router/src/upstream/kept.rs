//! A request's head kept while it is on its way, in case the connection turns out to have been closed meanwhile.
//!
//! Nearly every kept head is thrown away unused, so keeping must be cheap: the bytes are copied into a buffer that the
//! thread uses again, where a copy of the header map would cost two allocations and a reference count for each header.

use std::cell::RefCell;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use super::request_body::RequestBody;

/// Buffers that are not in use. More than this many are not kept.
const MAX_SPARE: usize = 64;
/// A buffer larger than this is not used again.
const MAX_BUFFER: usize = 16 * 1024;

/// One thread's unused buffers.
#[derive(Debug, Default)]
pub(crate) struct Buffers(RefCell<Vec<Vec<u8>>>);

/// The head of a request without a body.
#[derive(Debug)]
pub(crate) struct Kept {
    method: Method,
    uri: Uri,
    /// For each header: the lengths of name and value, and both.
    headers: Vec<u8>,
}

impl Kept {
    /// Keeps the head of `request`.
    pub(crate) fn new(request: &Request<RequestBody>, buffers: &Buffers) -> Self {
        let mut headers = buffers.0.borrow_mut().pop().unwrap_or_default();
        for (name, value) in request.headers() {
            let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
            headers.extend_from_slice(&(name.len() as u32).to_le_bytes());
            headers.extend_from_slice(&(value.len() as u32).to_le_bytes());
            headers.extend_from_slice(name);
            headers.extend_from_slice(value);
        }
        Self { method: request.method().clone(), uri: request.uri().clone(), headers }
    }

    /// The request again.
    pub(crate) fn request(&self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = self.headers();
        request
    }

    fn headers(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        let mut rest = self.headers.as_slice();
        while let Some((name, value, next)) = entry(rest) {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                map.append(name, value);
            }
            rest = next;
        }
        map
    }

    /// Gives the buffer back.
    pub(crate) fn forget(self, buffers: &Buffers) {
        let mut headers = self.headers;
        let mut spare = buffers.0.borrow_mut();
        if spare.len() < MAX_SPARE && headers.capacity() <= MAX_BUFFER {
            headers.clear();
            spare.push(headers);
        }
    }
}

fn entry(rest: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name_len, rest) = rest.split_first_chunk::<4>()?;
    let (value_len, rest) = rest.split_first_chunk::<4>()?;
    let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*name_len) as usize)?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_len) as usize)?;
    Some((name, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_comes_back_as_it_was() {
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = Method::DELETE;
        *request.uri_mut() = Uri::from_static("/a?b=c");
        for (name, value) in [("host", "a"), ("x", ""), ("x", "two, three"), ("cookie", "a=b")] {
            request.headers_mut().append(name, HeaderValue::from_static(value));
        }
        let buffers = Buffers::default();
        for _ in 0..2 {
            let kept = Kept::new(&request, &buffers);
            let again = kept.request();
            assert_eq!(again.method(), request.method());
            assert_eq!(again.uri(), request.uri());
            assert_eq!(again.headers(), request.headers());
            kept.forget(&buffers);
        }
        assert_eq!(buffers.0.borrow().len(), 1);
    }
}
