//! The JSON Schema of a document, for editors and for the check of a document's structure.

use schemars::schema_for;

use crate::raw;

/// The JSON Schema (2020-12) of one document of any kind.
pub fn json_schema() -> serde_json::Value {
    let mut schema = schema_for!(raw::Document);
    schema.insert("$id".to_owned(), "urn:gridrouter:document".into());
    schema.insert("title".to_owned(), "GridRouter document".into());
    schema.to_value()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::ids::Kind;

    #[test]
    fn every_kind_is_an_alternative() {
        let schema = json_schema();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        let kinds: Vec<&Value> =
            schema["oneOf"].as_array().unwrap().iter().map(|one| &one["properties"]["kind"]["const"]).collect();
        assert_eq!(kinds, Kind::ALL.map(Kind::as_str));
    }

    #[test]
    fn editors_can_explain_every_field_and_word() {
        let schema = json_schema();
        let defs = schema["$defs"].as_object().unwrap().values();
        for one in schema["oneOf"].as_array().unwrap().iter().chain(defs) {
            assert!(one["description"].is_string(), "{one:#}");
            // An alternative of a choice is explained as a whole.
            for (name, field) in one["properties"].as_object().into_iter().flatten() {
                assert!(name == "kind" || field["description"].is_string(), "{name} of {one:#}");
            }
            for word in one["oneOf"].as_array().into_iter().flatten() {
                assert!(word["description"].is_string(), "{word:#}");
            }
        }
        assert_eq!(schema["$defs"]["CellState"]["oneOf"][0]["const"], "active");
        assert_eq!(schema["$defs"]["BalanceAlgorithm"]["oneOf"][0]["const"], "smooth-weighted-round-robin");
    }

    #[test]
    fn a_limit_has_a_field_for_every_algorithm_and_a_cost_in_two_forms() {
        let schema = json_schema();
        let mut kinds = schema["oneOf"].as_array().unwrap().iter().map(|one| &one["properties"]);
        let limit = kinds.find(|properties| properties["kind"]["const"] == "Limit").unwrap();
        for field in [
            "tokenBucket",
            "leakyBucketQueue",
            "leakyBucketMeter",
            "slidingWindow",
            "fixedWindow",
            "warmUp",
            "concurrency",
            "adaptiveConcurrency",
            "bandwidth",
        ] {
            assert!(limit[field]["description"].is_string(), "{field}");
        }
        let forms: Vec<&Value> = schema["$defs"]["Cost"]["anyOf"].as_array().unwrap().iter().collect();
        assert_eq!((&forms[0]["type"], &forms[1]["$ref"]), (&"integer".into(), &"#/$defs/CostParts".into()));
        assert!(forms.iter().all(|form| form["description"].is_string()));
    }
}
