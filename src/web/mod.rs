//! What a WebAssembly module finds around it: a page, a worker, or Node.
//!
//! Everything is looked up by its name on the global object when it is needed. So there is no
//! difference between a page and a worker, what a polyfill puts there later is used, and what is
//! missing is an error of the operation that needs it.

mod database;
mod js;

pub(crate) use self::database::{Changes, Database, DatabaseError, Hold, seed};
#[cfg(test)]
pub(crate) use self::js::{call, construct};
pub(crate) use self::js::{get, global, name, problem, settled};
