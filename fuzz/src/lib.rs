//! What the fuzz targets share: the words and the wire, compiled alone, and the comparison with an
//! independent parser.
//!
//! The rest of the product has nothing to do with it and would take minutes to instrument.

#[path = "../../src"]
mod house {
    pub mod action;
    pub mod bounds;
    pub mod call;
    pub mod clock;
    pub mod contract;
    pub mod decision;
    pub mod framing;
    pub mod money;
    pub mod refusal;
    pub mod value;
    pub mod wire;
}

pub use house::*;

// The comparison calls this crate by the product's name.
extern crate self as tollhouse;

#[path = "../../tests/wire/agree.rs"]
pub mod agree;
