use super::*;

/// Data, trailers, whether the body ended, and what is left behind it.
type Outcome = (Vec<u8>, Vec<String>, bool, Vec<u8>);

/// Everything that comes of `pieces`, received one by one.
fn decoded(mut decoder: Decoder, pieces: &[&[u8]]) -> Result<Outcome, BadBody> {
    let (mut input, mut data, mut trailers) = (BytesMut::new(), Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input)? {
                Decoded::Data(bytes) => data.extend_from_slice(&bytes),
                Decoded::Trailers(map) => {
                    trailers.extend(map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())));
                }
                Decoded::End | Decoded::Missing => break,
            }
        }
    }
    Ok((data, trailers, decoder.is_done(), input.to_vec()))
}

fn text(decoder: Decoder, bytes: &str) -> (String, bool, String) {
    let (data, _, done, left) = decoded(decoder, &[bytes.as_bytes()]).unwrap();
    (String::from_utf8(data).unwrap(), done, String::from_utf8(left).unwrap())
}

#[test]
fn a_body_ends_where_its_framing_says() {
    assert_eq!(text(Decoder::new(0, false), "GET"), (String::new(), true, "GET".into()));
    assert_eq!(text(Decoder::new(3, false), "abcGET"), ("abc".into(), true, "GET".into()));
    assert_eq!(text(Decoder::new(5, false), "abc"), ("abc".into(), false, String::new()));
    assert_eq!(text(Decoder::UntilEnd, "abc"), ("abc".into(), false, String::new()));
    let chunks = "3;x=\"y\"\r\nabc\r\n00A \r\n0123456789\r\n000\r\n\r\nGET";
    assert_eq!(text(Decoder::ChunkSize, chunks), ("abc0123456789".into(), true, "GET".into()));
}

#[test]
fn trailers_are_told() {
    let (data, trailers, done, left) =
        decoded(Decoder::ChunkSize, &[b"1\r\na\r\n0\r\nX-Sum: 7\r\nY: z\r\n\r\nrest"]).unwrap();
    assert_eq!((data, done, left), (b"a".to_vec(), true, b"rest".to_vec()));
    assert_eq!(trailers, ["x-sum: 7", "y: z"]);
}

#[test]
fn broken_chunks_are_refused() {
    for body in [
        "x\r\n",
        "\r\n",
        "3\nabc",
        "3\r\nabcd\r\n",
        "3\r\nabc\n",
        "-1\r\n",
        "+1\r\n",
        "0x3\r\n",
        "3 3\r\n",
        " 3\r\n",
        "fffffffffffffffff\r\n",
        "ffffffffffffffff\r\n",
        "3;a\nb\r\n",
        "3;\x01\r\n",
        "0\r\n\n",
        "0\r\nx: y\n\r\n",
        "0\r\nbad trailer\r\n\r\n",
        "0\r\n x: y\r\n\r\n",
    ] {
        assert_eq!(decoded(Decoder::ChunkSize, &[body.as_bytes()]).unwrap_err(), BadBody, "{body:?}");
    }
    let long_line = format!("5;{}", "x".repeat(400));
    assert!(decoded(Decoder::ChunkSize, &[long_line.as_bytes()]).is_err());
    let many_trailers = format!("0\r\n{}", "x: y\r\n".repeat(4000));
    assert!(decoded(Decoder::ChunkSize, &[many_trailers.as_bytes()]).is_err());
}

/// Rubbish in place of a size is not waited out.
#[test]
fn what_can_be_no_size_is_refused_before_its_line_ends() {
    for start in ["z", "3z", "-", "GET / HTTP/1.1"] {
        assert!(decoded(Decoder::ChunkSize, &[start.as_bytes()]).is_err(), "{start:?}");
    }
}

proptest::proptest! {
    /// What was put into chunks comes out again, however it is cut, and so does what follows.
    #[test]
    fn chunks_come_out_as_they_went_in(
        chunks in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 1..9000), 0..6),
        cuts in proptest::collection::vec(1_usize..3000, 1..60),
    ) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            crate::http1::encode::chunk_size(&mut bytes, chunk.len());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        crate::http1::encode::last_chunk(&mut bytes, None);
        bytes.extend_from_slice(b"next");
        let (mut pieces, mut rest, mut cuts) = (Vec::new(), &bytes[..], cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        let (data, _, done, left) = decoded(Decoder::ChunkSize, &pieces).unwrap();
        proptest::prop_assert_eq!((data, done, left), (chunks.concat(), true, b"next".to_vec()));
    }
}
