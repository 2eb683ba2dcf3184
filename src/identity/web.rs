//! An identity in the browser: the seed in IndexedDB, sealed with a key that no script can read.

use super::Identity;
use crate::store::{StoreError, told};
use crate::web;

const DATABASE: &str = "everlink identities";

pub(super) async fn load_or_create(name: &str) -> Result<Identity, StoreError> {
    match web::seed(DATABASE, name).await {
        Ok(Some(seed)) => Ok(Identity::from_secret(*seed)),
        Ok(None) => Err(StoreError::Corrupt {
            path: format!("{DATABASE}: {name}"),
            problem: "its seed cannot be read".to_owned(),
        }),
        Err(error) => Err(told(DATABASE, error)),
    }
}
