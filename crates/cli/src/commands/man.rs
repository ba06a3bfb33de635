//! `haul man`: the man pages.

use std::fs;

use clap::CommandFactory;
use haul::Error;

use crate::args::{Cli, Man};
use crate::exit::Failure;
use crate::output::Output;

pub(crate) fn run(args: &Man, out: Output) -> Result<(), Failure> {
    let command = Cli::command();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        return out.bytes(&page);
    };
    let written = fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir));
    written.map_err(|why| Error::from(why).while_doing(format!("write man pages to {}", dir.display())))?;
    out.remark(&format!("wrote the pages to {}", dir.display()));
    Ok(())
}
