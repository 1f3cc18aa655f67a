// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers that their client has not read yet. Their memory is counted in the [`SendBudget`].
//!
//! [`SendBudget`]: crate::limits::send_budget::SendBudget

use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{Buf, Bytes};
use hyper::StatusCode;
use hyper::body::Body as _;

use crate::answer::Fault;
use crate::body::{Pieces, map, poll_piece};
use crate::limits::send_budget::{Asking, Permit, SMALL, Share};

/// Bounds what an answer holds that a client does not take. An answer that reads a file asks for each
/// piece itself, and says so by [`Counted`].
pub(crate) fn bound(response: Response, share: &Share) -> Response {
    if response.extensions().get::<Counted>().is_some() {
        return response;
    }
    match response.body().size_hint().exact() {
        Some(len) if len <= SMALL as u64 => response,
        Some(len) => match usize::try_from(len).ok().and_then(|len| share.whole(len)) {
            Some(permit) => response.map(|body| whole(body, permit)),
            None => too_much(),
        },
        None => response.map(|body| in_pieces(body, share.clone())),
    }
}

/// Marks an answer whose body asks for memory piece by piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted;

fn too_much() -> Response {
    let reason = "this client has too many answers that it has not read; read them, then try again";
    let fault = Fault {
        retry_after: Some(10),
        ..Fault::new(StatusCode::SERVICE_UNAVAILABLE, reason)
    };
    fault.into_response()
}

/// An answer that is made as a whole. Its first piece keeps the permit.
fn whole(body: Body, permit: Permit) -> Body {
    let mut permit = Some(permit);
    Body::new(map(body, move |bytes| match permit.take() {
        Some(permit) => permit.keep(bytes),
        None => bytes,
    }))
}

/// An answer that another thread makes. Its pieces are handed on as far as there is memory for them.
fn in_pieces(mut body: Body, share: Share) -> Body {
    let (mut piece, mut asking) = (Bytes::new(), Asking::new(share));
    Body::new(Pieces::new(None, move |context: &mut Context<'_>| {
        while piece.is_empty() {
            match ready!(poll_piece(&mut body, context)) {
                Some(Ok(next)) => piece = next,
                other => return Poll::Ready(other),
            }
        }
        let permit = ready!(asking.poll_piece(piece.len(), context));
        let next = match permit.len() == piece.len() {
            true => permit.keep(std::mem::take(&mut piece)),
            // Copied: a part of the piece would hold all of it.
            false => {
                let part = piece[..permit.len()].to_vec();
                piece.advance(part.len());
                permit.keep(part)
            }
        };
        Poll::Ready(Some(Ok(next)))
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt;

    use super::*;
    use crate::limits::ClientId;
    use crate::limits::send_budget::SendBudget;

    fn share(budget: &Arc<SendBudget>, address: &str) -> Share {
        Share::new(
            budget,
            ClientId::at(address.parse().unwrap()),
            &Arc::default(),
        )
    }

    #[tokio::test]
    async fn what_is_sent_makes_room() {
        let budget = SendBudget::of(3 * SMALL);
        let share = share(&budget, "192.0.2.1");
        let mut body = in_pieces(Body::from(vec![7; 5 * SMALL]), share);
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first.len(), SMALL);
        let next = body.frame();
        tokio::pin!(next);
        let waits =
            |context: &mut Context<'_>| Poll::Ready(next.as_mut().poll(context).is_pending());
        assert!(std::future::poll_fn(waits).await);
        drop(first);
        assert!(next.await.is_some());
        let mut left = 3;
        while let Some(piece) = body.frame().await {
            assert_eq!(piece.unwrap().into_data().unwrap().len(), SMALL);
            left -= 1;
        }
        assert_eq!(left, 0);
        assert_eq!(budget.free(), 3 * SMALL);
    }

    #[test]
    fn an_answer_that_is_too_much_is_refused() {
        let budget = SendBudget::of(1 << 20);
        let share = share(&budget, "192.0.2.1");
        let answer = || Response::new(Body::from(vec![0; 200 << 10]));
        let held = bound(answer(), &share);
        assert_eq!(held.status(), StatusCode::OK);
        let refused = bound(answer(), &share);
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key("retry-after"));
        drop(held);
        assert_eq!(bound(answer(), &share).status(), StatusCode::OK);
    }
}
