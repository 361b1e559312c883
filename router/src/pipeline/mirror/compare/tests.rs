use super::*;

fn body(pieces: &[&[u8]], end: Option<End>) -> Body {
    let mut body = Body::default();
    for piece in pieces {
        body.passes(piece);
    }
    if let Some(end) = end {
        body.ends(end);
    }
    body
}

fn said(old: &Body, new: &Body) -> Option<Bodies> {
    compare(Some(old), Some(new))
}

#[test]
fn bodies_are_compared_however_they_came() {
    let whole = Some(End::Whole);
    let one = body(&[b"hello world"], whole);
    assert_eq!(said(&one, &body(&[b"he", b"", b"llo world"], whole)), Some(Bodies::Same));
    assert_eq!(said(&one, &body(&[b"hello World"], whole)), Some(Bodies::Differ));
    assert_eq!(said(&one, &body(&[b"hello"], whole)), Some(Bodies::Differ));
    assert_eq!(said(&body(&[], whole), &body(&[], whole)), Some(Bodies::Same));
    assert_eq!(compare(None, None), Some(Bodies::NotCompared));
}

#[test]
fn a_body_that_broke_off_says_nothing_and_one_on_its_way_is_waited_for() {
    let (whole, cut) = (body(&[b"hello"], Some(End::Whole)), body(&[b"hel"], Some(End::Cut)));
    assert_eq!(said(&whole, &cut), Some(Bodies::NotCompared));
    assert_eq!(said(&cut, &body(&[], None)), Some(Bodies::NotCompared));
    assert_eq!(said(&whole, &body(&[b"hello"], None)), None);
    assert_eq!(said(&body(&[], None), &whole), None);
}

#[test]
fn of_long_bodies_the_beginning_is_compared() {
    let long = vec![b'x'; MOST];
    let exact = || body(&[&long], Some(End::Whole));
    let more = |rest: &[u8]| body(&[&long[1..], b"x", rest], None);
    assert_eq!(said(&exact(), &exact()), Some(Bodies::Same));
    assert_eq!(said(&more(b"a"), &more(b"bcd")), Some(Bodies::Same), "nobody looked further");
    assert_eq!(said(&exact(), &more(b"a")), Some(Bodies::Differ));
    assert_eq!(more(b"abc").length, MOST);
}

#[test]
fn long_paths_are_cut_between_characters() {
    assert_eq!(cut("/short"), "/short");
    let long = format!("/{}", "\u{e9}".repeat(MAX_PATH));
    assert_eq!(cut(&long).chars().count(), MAX_PATH + 1);
    assert!(cut(&long).ends_with('\u{2026}'));
}
