//! Plots and tables from what `suite` left in a folder: results.jsonl and machine.json become results.csv, SVG files and
//! README.md. Nothing in them is written by hand; bounds.md beside them is.

mod asked;
mod claims;
pub(crate) mod compared;
pub(crate) mod machine;
mod page;
mod plots;

use crate::median::Medians;
use crate::record::{Record, write_csv};
use machine::Machine;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes everything that follows from the results in this folder.
pub(crate) fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    let path = folder.join("results.jsonl");
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("{}: {error}; `measure suite --into` writes it", path.display()))?;
    let records: Vec<Record> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let machine: Machine = serde_json::from_str(&fs::read_to_string(folder.join("machine.json"))?)?;
    let mut csv = BufWriter::new(File::create(folder.join("results.csv"))?);
    write_csv(&records, &mut csv)?;
    csv.flush()?;
    let medians = Medians::of(&records);
    let plots = plots::draw(&medians, folder)?;
    let claims = asked::all(&records);
    fs::write(folder.join("README.md"), page::text(&machine, &records, &medians, &claims, &plots))?;
    for claim in &claims {
        println!("{claim}");
    }
    Ok(())
}
