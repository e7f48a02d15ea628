//! Receives the document of a `PUT`: its attachments go to the spool while they pass, decoded and hashed;
//! the rest stays in memory under its limit.

use weir_core::Result;
use weir_protocol::RequestBody;
use weir_protocol::attachments::{AttachmentSink, ScanLimits, Scanner};
use weir_registry::{Registry, SpoolWriter, Spooled};

/// A document that was received.
pub(crate) struct Upload {
    /// The document with `""` in place of each attachment's data.
    pub(crate) document: Vec<u8>,
    /// Names and bytes of its attachments.
    pub(crate) attachments: Vec<(String, Spooled)>,
}

/// Reads a body to its end; `allow` is asked before an attachment is taken. Errors: Invalid for what is no
/// such document, TooLarge over a limit, those of `allow`.
pub(crate) async fn receive(
    registry: &Registry,
    body: RequestBody,
    allow: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Upload> {
    let settings = registry.settings();
    let limits = ScanLimits {
        document_bytes: usize::try_from(settings.max_index_bytes).unwrap_or(usize::MAX),
        document_setting: "max-index-bytes",
        attachment_bytes: settings.max_asset_bytes,
        attachment_setting: "max-asset-bytes",
        ..ScanLimits::default()
    };
    // Base64 takes four bytes for three; a line break after each would double that.
    let most = settings.max_asset_bytes.saturating_mul(2).saturating_add(settings.max_index_bytes);
    let mut body = body.limited(most, "max-asset-bytes");
    let mut scanner = Scanner::new(limits);
    let mut pieces = Pieces::default();
    let mut current: Option<(String, SpoolWriter)> = None;
    let mut attachments = Vec::new();
    while let Some(chunk) = body.next_chunk().await? {
        scanner.feed(&chunk, &mut pieces)?;
        for piece in pieces.0.drain(..) {
            match (piece, &mut current) {
                (Piece::Start(name), _) => {
                    allow()?;
                    current = Some((name, registry.spool()?));
                }
                (Piece::Bytes(bytes), Some((_, writer))) => writer.write(bytes.into()).await?,
                (Piece::Bytes(_), None) => {}
                (Piece::End, open) => {
                    if let Some((name, writer)) = open.take() {
                        attachments.push((name, writer.finish().await?));
                    }
                }
            }
        }
    }
    Ok(Upload { document: scanner.finish()?.json, attachments })
}

/// What one chunk of the body decoded to, in order.
#[derive(Default)]
struct Pieces(Vec<Piece>);

enum Piece {
    Start(String),
    Bytes(Vec<u8>),
    End,
}

impl AttachmentSink for Pieces {
    fn start(&mut self, name: &str) -> Result<()> {
        self.0.push(Piece::Start(name.to_owned()));
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        match self.0.last_mut() {
            Some(Piece::Bytes(so_far)) => so_far.extend_from_slice(bytes),
            _ => self.0.push(Piece::Bytes(bytes.to_owned())),
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.0.push(Piece::End);
        Ok(())
    }
}
