//! What words that stand in bodies and answers may be, for the description of the API: types of their own have no schema, since what is
//! below the admin side knows of none.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::parameter::NAME;
use crate::access::{Role, Standing};

/// A name: of an account, a tenant, a token, an offer.
pub(super) struct NameWord;

/// What somebody may do.
pub(super) struct RoleWord;

/// Whether an account lets in.
pub(super) struct StandingWord;

impl JsonSchema for NameWord {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": NAME })
    }
}

impl JsonSchema for RoleWord {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Role".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Role::ALL.map(|role| role.to_string()) })
    }
}

impl JsonSchema for StandingWord {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Standing".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": [Standing::Enabled, Standing::Disabled] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_that_are_read() {
        let mut schemas = SchemaGenerator::default();
        let words = |schema: Schema| schema.as_value()["enum"].as_array().unwrap().clone();
        for word in words(RoleWord::json_schema(&mut schemas)) {
            assert!(serde_json::from_value::<Role>(word.clone()).is_ok(), "{word}");
        }
        for word in words(StandingWord::json_schema(&mut schemas)) {
            assert!(serde_json::from_value::<Standing>(word.clone()).is_ok(), "{word}");
        }
    }

    #[test]
    fn what_may_be_left_out_may_be_none() {
        let mut schemas = SchemaGenerator::default();
        let role = Option::<RoleWord>::json_schema(&mut schemas);
        assert!(role.as_value()["enum"].as_array().unwrap().contains(&serde_json::Value::Null), "{role:?}");
        let name = Option::<NameWord>::json_schema(&mut schemas);
        assert_eq!(name.as_value()["type"], serde_json::json!(["string", "null"]));
    }
}
