//! The JSON Schema of a document, for editors and for [`crate::structure`].

use schemars::schema_for;

use crate::raw;

/// The JSON Schema (2020-12) of one document of any kind.
pub fn json_schema() -> serde_json::Value {
    let mut schema = schema_for!(raw::Document);
    schema.insert("$id".to_owned(), "urn:gridrouter:document".into());
    schema.insert("title".to_owned(), "GridRouter document".into());
    schema.to_value()
}
