//! Documents: whatever is in a file harms nobody, and what can be read stays the same when it is written and read again.

use std::sync::Arc;

use gridrouter_config::check::convert;
use gridrouter_config::codec::{Parsed, parse, parse_entry};
use gridrouter_config::generation::advance;
use gridrouter_config::problem::{Problem, SourceText};
use gridrouter_config::store::{Entry, Key};
use gridrouter_config::tenants::TenantTable;

fn told(problems: &[Problem], text: &SourceText<'_>) {
    for problem in problems {
        assert!(!problem.message.is_empty() && problem.line > 0 && problem.column > 0, "{problem:?}");
        let shown = problem.render_in(text, false);
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
}

/// Written as JSON below its key, as etcd has it, a document is the same.
fn kept(parsed: &Parsed) {
    for document in &parsed.documents {
        let Ok(json) = serde_json::to_vec(&document.raw) else { panic!("{} cannot be written", document.id) };
        let key = Some(Key { id: document.id.clone(), revision: 1 });
        let again = parse_entry(&Entry { path: "a".into(), bytes: Arc::from(json.as_slice()), key });
        let problems: Vec<&Problem> = again.broken.iter().flat_map(|broken| &broken.problems).collect();
        assert!(problems.is_empty(), "{problems:?} in {}", json.escape_ascii());
        let [second] = again.documents.as_slice() else { panic!("{} is not read again", document.id) };
        assert_eq!((&second.raw, second.digest), (&document.raw, document.digest));
        assert_eq!(convert(second).is_ok(), convert(document).is_ok(), "{}", document.id);
    }
}

pub(super) fn check(bytes: &[u8]) {
    let parsed = parse("a.yaml", bytes);
    let text = String::from_utf8_lossy(bytes);
    let text = SourceText::new(&text);
    for broken in &parsed.broken {
        assert!(!broken.problems.is_empty());
        told(&broken.problems, &text);
    }
    for document in &parsed.documents {
        if let Err(problems) = convert(document) {
            assert!(!problems.is_empty(), "{} is wrong, and nobody knows why", document.id);
            told(&problems, &text);
        }
    }
    kept(&parsed);
    told(&advance(None, &[parsed], &TenantTable::default()).problems, &text);
}
