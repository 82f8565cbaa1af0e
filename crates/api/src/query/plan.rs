//! From `spec.query` to checks. Only what the validator would admit becomes a plan: what it refuses checks nothing.

use serde_json::{Map, Value};

use super::{Comparison, Engine, Operator, Shape};
use crate::{shared::FreeForm, validate::query_refusals};

/// What an object of a database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// A database.
    Database,
    /// A schema of a database.
    Schema,
    /// A table, or what is read like one.
    Table,
    /// A collection of documents.
    Collection,
    /// An index of a search engine.
    Index,
}

impl Level {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Schema => "schema",
            Self::Table => "table",
            Self::Collection => "collection",
            Self::Index => "index",
        }
    }
}

/// One object that must be there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    /// What it is.
    pub level: Level,
    /// Its name, as it is: nothing in it is quoted.
    pub name: String,
}

/// One check: objects that must be there, each within the one before it, and what must be counted in the last of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Where it is written, such as `spec.query.postgres[0]`.
    pub at: String,
    /// The objects, outermost first; never empty.
    pub path: Vec<Object>,
    /// What the count must be; without one, nothing is counted.
    pub count: Option<Comparison>,
}

/// The checks of one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Who answers them.
    pub engine: Engine,
    /// At least one.
    pub checks: Vec<Check>,
}

/// Why a query is no plan; every reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct UnusableQuery(pub Vec<String>);

impl Plan {
    /// The plan for `engine`. Checks of another engine are an error: nobody would run them, and the run would look complete.
    pub fn parse(query: &FreeForm, engine: Engine) -> Result<Self, UnusableQuery> {
        let mut refused = query_refusals(query);
        for other in query.keys().filter(|key| key.as_str() != engine.key()) {
            refused.push(format!("spec.query.{other}: cannot be asked of {engine}; make a verifier for each engine"));
        }
        if !query.contains_key(engine.key()) {
            refused.push(format!("spec.query.{engine}: is missing, so nothing would be checked; list at least one check"));
        }
        if !refused.is_empty() {
            return Err(UnusableQuery(refused));
        }
        let listed = query.get(engine.key()).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let checks: Option<Vec<Check>> = (0..).zip(listed).map(|(number, check)| parse(engine, number, check.as_object()?)).collect();
        match checks {
            Some(checks) if !checks.is_empty() => Ok(Self { engine, checks }),
            // The validator has refused such a query already.
            Some(_) | None => Err(UnusableQuery(vec![format!("spec.query.{engine}: is no list of checks")])),
        }
    }
}

fn parse(engine: Engine, number: usize, check: &Map<String, Value>) -> Option<Check> {
    let mut path: Vec<Object> = Vec::new();
    let mut count = None;
    for (name, shape) in engine.fields() {
        let value = check.get(*name).filter(|value| !value.is_null());
        match (shape, value) {
            (Shape::Name(level) | Shape::Optional(level) | Shape::Counted(level), Some(value)) => {
                if let (Level::Table, Some(schema), false) =
                    (level, engine.default_schema(), path.iter().any(|object| object.level == Level::Schema))
                {
                    path.push(Object { level: Level::Schema, name: schema.to_owned() });
                }
                path.push(Object { level: *level, name: value.as_str()?.to_owned() });
            }
            (Shape::Number(level), value) => {
                let number = value.map_or(Some(0), Value::as_i64)?;
                path.push(Object { level: *level, name: number.to_string() });
            }
            (Shape::Count, Some(value)) => count = Some(comparison(value)?),
            (Shape::Name(_), None) => return None,
            (Shape::Optional(_) | Shape::Counted(_) | Shape::Count, None) => {}
        }
    }
    Some(Check { at: format!("spec.query.{engine}[{number}]"), path, count })
}

/// A number alone is an equality, as upstream's own sample for Redis has it.
fn comparison(value: &Value) -> Option<Comparison> {
    if let Some(value) = value.as_i64() {
        return Some(Comparison { operator: Operator::Equal, value });
    }
    let operator = Operator::named(value.get("operator")?.as_str()?)?;
    Some(Comparison { operator, value: value.get("value")?.as_i64()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(yaml: &str) -> FreeForm {
        serde_saphyr::from_str(yaml).unwrap()
    }

    /// Each check in a line.
    fn told(engine: Engine, yaml: &str) -> Vec<String> {
        let plan = Plan::parse(&query(yaml), engine).unwrap();
        let line = |check: &Check| {
            let path: Vec<_> = check.path.iter().map(|object| format!("{} {}", object.level.as_str(), object.name)).collect();
            let count = check.count.map_or(String::new(), |count| format!(" {} {}", count.operator, count.value));
            format!("{}: {}{count}", check.at, path.join(", "))
        };
        plan.checks.iter().map(line).collect()
    }

    #[test]
    fn every_engine_has_its_shape() {
        let rows = "{database: shop, table: employee, rowCount: {operator: GreaterThanOrEqual, value: 100}}";
        for (engine, key) in [(Engine::MySql, "mySQL"), (Engine::MariaDb, "mariaDB"), (Engine::SingleStore, "singlestore")] {
            assert_eq!(
                told(engine, &format!("{key}: [{rows}, {{database: a}}]")),
                [
                    format!("spec.query.{key}[0]: database shop, table employee GreaterThanOrEqual 100"),
                    format!("spec.query.{key}[1]: database a")
                ]
            );
        }
        assert_eq!(
            told(
                Engine::Postgres,
                "postgres: [{database: shop, schema: primary, table: employee, rowCount: 7}, {database: a, table: b}, {database: a, schema: s}]"
            ),
            [
                "spec.query.postgres[0]: database shop, schema primary, table employee Equal 7",
                "spec.query.postgres[1]: database a, schema public, table b",
                "spec.query.postgres[2]: database a, schema s",
            ]
        );
        assert_eq!(
            told(Engine::SqlServer, "mssqlServer: [{database: shop, table: employee, rowCount: {operator: LessThan, value: 3}}]"),
            ["spec.query.mssqlServer[0]: database shop, schema dbo, table employee LessThan 3"]
        );
        assert_eq!(
            told(Engine::MongoDb, "mongoDB: [{database: shop, collection: employee, documentCount: {operator: NotEqual, value: 0}}]"),
            ["spec.query.mongoDB[0]: database shop, collection employee NotEqual 0"]
        );
        assert_eq!(told(Engine::Elasticsearch, "elasticsearch: [{index: shop}]"), ["spec.query.elasticsearch[0]: index shop"]);
        assert_eq!(
            told(Engine::Redis, "redis: [{dbSize: 100}, {index: 3, dbSize: {operator: GreaterThan, value: 0}}, {}]"),
            [
                "spec.query.redis[0]: database 0 Equal 100",
                "spec.query.redis[1]: database 3 GreaterThan 0",
                "spec.query.redis[2]: database 0"
            ]
        );
    }

    #[test]
    fn names_stay_as_they_are() {
        let plan = Plan::parse(&query(r#"{postgres: [{database: "a\"; DROP DATABASE b; --", table: " x "}]}"#), Engine::Postgres).unwrap();
        let names: Vec<_> = plan.checks[0].path.iter().map(|object| object.name.as_str()).collect();
        assert_eq!(names, [r#"a"; DROP DATABASE b; --"#, "public", " x "]);
    }

    #[test]
    fn what_would_not_be_run_is_no_plan() {
        for (yaml, expected) in [
            ("{}", "spec.query.postgres: is missing"),
            ("mySQL: [{database: a}]", "spec.query.mySQL: cannot be asked of postgres"),
            ("{postgres: [{database: a}], mySQL: [{database: a}]}", "spec.query.mySQL: cannot be asked of postgres"),
            ("postgres: []", "spec.query.postgres: is an empty list"),
            ("postgres: [{table: a}]", "spec.query.postgres[0].database: is missing"),
            ("postgres: [{database: a, tabel: b}]", "spec.query.postgres[0].tabel: is no field"),
            ("postgres: [{database: a, table: b, rowCount: {operator: AtLeast, value: 1}}]", "spec.query.postgres[0].rowCount.operator"),
            ("postgres: [{database: a, table: b, rowCount: many}]", "spec.query.postgres[0].rowCount"),
            ("postgres: [{database: a, table: b, rowCount: {operator: LessThan, value: 0}}]", "no count is LessThan 0"),
        ] {
            let error = Plan::parse(&query(yaml), Engine::Postgres).unwrap_err().to_string();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }
}
