//! The JSON Schema, boiled down once to what the check of a tree needs.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::ids::Kind;
use crate::schema::json_schema;

/// What a value must look like.
#[derive(Debug)]
pub(super) enum Shape {
    Text,
    Flag,
    Integer {
        least: i128,
        most: i128,
    },
    Number,
    List(Box<Shape>),
    /// Any keys, values of one shape.
    Map(Box<Shape>),
    Fields(Vec<Field>),
    /// One of the words, or a map with exactly one of the fields.
    Choice {
        words: Vec<String>,
        fields: Vec<Field>,
    },
    /// A scalar, or a map of fields.
    Either {
        scalar: Box<Shape>,
        fields: Vec<Field>,
    },
    /// The schema says nothing that is understood here; serde has the last word.
    Any,
}

/// A field of a map.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) shape: Shape,
    pub(super) required: bool,
    /// Whether an empty value is as good as none.
    pub(super) nullable: bool,
}

/// How deep shapes nest; the documents' types need six. It bounds the walk should a type ever contain itself.
const MAX_DEPTH: usize = 24;

/// The shape of each kind's documents.
static KINDS: LazyLock<Vec<(Kind, Shape)>> = LazyLock::new(|| {
    let schema = json_schema();
    let reader = Reader { defs: schema.get("$defs") };
    let alternatives = schema.get("oneOf").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let kind_of = |one: &Value| Kind::parse(one.get("properties")?.get("kind")?.get("const")?.as_str()?);
    alternatives.iter().filter_map(|one| Some((kind_of(one)?, reader.shape(one, 0).0))).collect()
});

/// The shape of documents of this kind.
pub(super) fn of_kind(kind: Kind) -> &'static Shape {
    KINDS.iter().find(|(known, _)| *known == kind).map_or(&Shape::Any, |(_, shape)| shape)
}

struct Reader<'a> {
    defs: Option<&'a Value>,
}

impl Reader<'_> {
    /// The shape, and whether null will do instead.
    fn shape(&self, schema: &Value, depth: usize) -> (Shape, bool) {
        let Some(object) = schema.as_object().filter(|_| depth < MAX_DEPTH) else { return (Shape::Any, true) };
        let depth = depth + 1;
        if let Some(target) = object.get("$ref").and_then(Value::as_str) {
            let name = target.strip_prefix("#/$defs/").unwrap_or_default();
            return self.defs.and_then(|defs| defs.get(name)).map_or((Shape::Any, true), |def| self.shape(def, depth));
        }
        if let Some(options) = object.get("anyOf").and_then(Value::as_array) {
            return self.any_of(options, depth);
        }
        if let Some(options) = object.get("oneOf").and_then(Value::as_array) {
            return (self.choice(options, depth), false);
        }
        if object.contains_key("const") || object.contains_key("enum") {
            return (Shape::Choice { words: words(object), fields: Vec::new() }, false);
        }
        self.typed(object, depth)
    }

    /// One shape, be it of a scalar or a map, or null.
    fn any_of(&self, options: &[Value], depth: usize) -> (Shape, bool) {
        let is_null = |one: &&Value| one.get("type").and_then(Value::as_str) == Some("null");
        let nullable = options.iter().any(|one| is_null(&one));
        let mut real = options.iter().filter(|one| !is_null(one)).map(|one| self.shape(one, depth).0);
        let shape = match (real.next(), real.next(), real.next()) {
            (Some(shape), None, _) => shape,
            (Some(scalar), Some(Shape::Fields(fields)), None) => Shape::Either { scalar: Box::new(scalar), fields },
            (None | Some(_), ..) => Shape::Any,
        };
        (shape, nullable)
    }

    fn typed(&self, object: &Map<String, Value>, depth: usize) -> (Shape, bool) {
        let types: Vec<&str> = match object.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let shape = match types.iter().find(|name| **name != "null") {
            Some(&"string") => Shape::Text,
            Some(&"boolean") => Shape::Flag,
            Some(&"integer") => integer(object),
            Some(&"number") => Shape::Number,
            Some(&"array") => {
                Shape::List(Box::new(object.get("items").map_or(Shape::Any, |items| self.shape(items, depth).0)))
            }
            Some(&"object") => self.object(object, depth),
            _ => Shape::Any,
        };
        (shape, types.contains(&"null"))
    }

    fn object(&self, object: &Map<String, Value>, depth: usize) -> Shape {
        match (object.get("properties").and_then(Value::as_object), object.get("additionalProperties")) {
            (Some(_), _) | (None, Some(Value::Bool(false))) => Shape::Fields(self.fields(object, depth)),
            (None, Some(values)) => Shape::Map(Box::new(self.shape(values, depth).0)),
            (None, None) => Shape::Any,
        }
    }

    fn fields(&self, object: &Map<String, Value>, depth: usize) -> Vec<Field> {
        let required = object.get("required").and_then(Value::as_array);
        let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|one| one.as_str() == Some(name)));
        let properties = object.get("properties").and_then(Value::as_object);
        properties
            .into_iter()
            .flatten()
            .map(|(name, schema)| {
                let (shape, nullable) = self.shape(schema, depth);
                Field { name: name.clone(), shape, required: is_required(name), nullable }
            })
            .collect()
    }

    fn choice(&self, options: &[Value], depth: usize) -> Shape {
        let (mut all_words, mut fields) = (Vec::new(), Vec::new());
        for object in options.iter().filter_map(Value::as_object) {
            all_words.extend(words(object));
            fields.extend(self.fields(object, depth));
        }
        Shape::Choice { words: all_words, fields }
    }
}

fn words(object: &Map<String, Value>) -> Vec<String> {
    let several = object.get("enum").and_then(Value::as_array);
    let one = object.get("const");
    several.into_iter().flatten().chain(one).filter_map(Value::as_str).map(str::to_owned).collect()
}

fn integer(object: &Map<String, Value>) -> Shape {
    let bound = |name: &str| object.get(name).and_then(Value::as_i64).map(i128::from);
    let (least, most) = match object.get("format").and_then(Value::as_str) {
        Some("uint8") => (0, i128::from(u8::MAX)),
        Some("uint16") => (0, i128::from(u16::MAX)),
        Some("uint32") => (0, i128::from(u32::MAX)),
        Some("uint64") => (0, i128::from(u64::MAX)),
        _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
    };
    Shape::Integer { least: bound("minimum").unwrap_or(least), most: bound("maximum").unwrap_or(most) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A type that the reader does not understand would pass unchecked.
    fn understood(shape: &Shape) -> bool {
        match shape {
            Shape::Any => false,
            Shape::Text | Shape::Flag | Shape::Integer { .. } | Shape::Number => true,
            Shape::List(inner) | Shape::Map(inner) => understood(inner),
            Shape::Fields(fields) => fields.iter().all(|field| understood(&field.shape)),
            Shape::Either { scalar, fields } => {
                understood(scalar) && fields.iter().all(|field| understood(&field.shape))
            }
            Shape::Choice { words, fields } => {
                words.len() + fields.len() > 0 && fields.iter().all(|field| understood(&field.shape))
            }
        }
    }

    #[test]
    fn every_kind_has_a_shape_that_is_understood() {
        for kind in Kind::ALL {
            assert!(understood(of_kind(kind)), "{kind}: {:#?}", of_kind(kind));
        }
    }
}
