//! `gridctl schema`: the form of the documents, for editors and tools.

use std::collections::BTreeSet;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use gridrouter_config::ids::Kind;
use gridrouter_config::schema::json_schema;
use serde_json::{Map, Value};

use super::Status;
use super::format::print_yaml;
use crate::output::Output;

/// Print the JSON Schema of the documents, which editors use to complete and check them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Schema {
    /// Only this kind of document.
    #[arg(long, value_parser = PossibleValuesParser::new(Kind::ALL.map(Kind::as_str)), ignore_case = true)]
    kind: Option<String>,
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "json")]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As editors want it.
    Json,
    /// The same as YAML.
    Yaml,
}

const EXAMPLES: &str = "\
An editor with the YAML language server reads it from a comment on a document's first line:
  # yaml-language-server: $schema=gridrouter.schema.json

Examples:
  gridctl schema
  gridctl schema --kind Route
  gridctl schema --kind Limit -o yaml";

impl Schema {
    pub(super) fn run(&self, output: &mut Output) -> Status {
        let schema = json_schema();
        let chosen = match &self.kind {
            None => Some(schema),
            Some(kind) => only(schema, kind),
        };
        let Some(chosen) = chosen else {
            output.error("the schema lacks this kind, which is a mistake in gridctl; please report it");
            return Status::Failed;
        };
        match self.output {
            Format::Json => output.json(&chosen),
            Format::Yaml => print_yaml(&chosen, output),
        }
        Status::Fine
    }
}

/// The part of the schema that is about one kind, with the definitions it needs.
fn only(mut schema: Value, kind: &str) -> Option<Value> {
    let is_kind = |variant: &Value| {
        let word = variant.pointer("/properties/kind/const").and_then(Value::as_str);
        word.is_some_and(|word| word.eq_ignore_ascii_case(kind))
    };
    let all = schema.as_object_mut()?;
    let Some(Value::Array(variants)) = all.remove("oneOf") else { return None };
    let Value::Object(variant) = variants.into_iter().find(is_kind)? else { return None };
    all.extend(variant);
    let definitions = match all.remove("$defs") {
        Some(Value::Object(definitions)) => definitions,
        Some(_) | None => Map::new(),
    };
    let mut needed = BTreeSet::new();
    collect(&schema, &definitions, &mut needed);
    let definitions: Map<_, _> = definitions.into_iter().filter(|(name, _)| needed.contains(name)).collect();
    schema.as_object_mut()?.insert("$defs".to_owned(), Value::Object(definitions));
    Some(schema)
}

/// Collects the names of the definitions that a schema refers to, directly or through others.
fn collect(schema: &Value, definitions: &Map<String, Value>, needed: &mut BTreeSet<String>) {
    match schema {
        Value::Array(items) => items.iter().for_each(|item| collect(item, definitions, needed)),
        Value::Object(fields) => {
            let reference = fields.get("$ref").and_then(Value::as_str);
            if let Some(name) = reference.and_then(|reference| reference.strip_prefix("#/$defs/"))
                && needed.insert(name.to_owned())
                && let Some(definition) = definitions.get(name)
            {
                collect(definition, definitions, needed);
            }
            fields.values().for_each(|value| collect(value, definitions, needed));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_schema_of_its_own() {
        for kind in Kind::ALL {
            let schema = only(json_schema(), kind.as_str()).unwrap();
            let word = schema.pointer("/properties/kind/const").and_then(Value::as_str);
            assert_eq!(word, Some(kind.as_str()));
            assert!(schema.get("oneOf").is_none());
        }
        let definitions = |schema: &Value| schema.get("$defs").unwrap().as_object().unwrap().len();
        let grid = only(json_schema(), "grid").unwrap();
        assert!(definitions(&grid) < definitions(&json_schema()), "{grid}");
    }
}
