//! `report`: a support bundle. What is in it was redacted before it was written; no Secret is ever asked for.

mod archive;
mod collect;

use jiff::Timestamp;

use crate::{cluster::Cluster, error::Error, options::Report, output};

pub(crate) async fn run(cluster: &Cluster, asked: &Report) -> Result<u8, Error> {
    let now = Timestamp::now();
    let name = format!("backproof-report-{}.tar.gz", now.strftime("%Y%m%dT%H%M%SZ"));
    let path = asked.output.clone().unwrap_or_else(|| name.into());
    let bundle = collect::bundle(cluster, &cluster.place(asked.all_namespaces), &asked.installed_in).await?;
    archive::write(&path, &bundle.files, now).map_err(|error| Error::local(format!("cannot write {}", path.display()), error))?;
    let mut text = format!("{}: {} files; read it before you hand it on\n", path.display(), bundle.files.len());
    for missing in &bundle.missing {
        text.push_str(&format!("missing: {}\n", output::plain(missing)));
    }
    output::print(&text).map(|()| 0)
}
