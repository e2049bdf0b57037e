//! The systems that this workspace can measure: the limits and this project.

mod dust;
mod rustdds;
mod zerodds;

use crate::limits::ideal::Ideal;
use crate::system::System;

/// All of them.
#[must_use]
pub fn all() -> Vec<Box<dyn System>> {
    let mut all: Vec<Box<dyn System>> = Vec::new();
    all.extend(Ideal::ALL.map(|ideal| Box::new(ideal) as Box<dyn System>));
    all.extend(zerodds::Zerodds::all().map(|system| Box::new(system) as Box<dyn System>));
    all.extend(rustdds::Rustdds::ALL.map(|system| Box::new(system) as Box<dyn System>));
    all.extend(dust::Dust::ALL.map(|system| Box::new(system) as Box<dyn System>));
    all
}
