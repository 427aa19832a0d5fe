//! What holds for contents.

use super::Bench;
use crate::store::BlobId;
use crate::store::engine::{Blobs, Engine};
use crate::store::memory::End;

pub(super) async fn a_content_is_found_by_its_hash_until_it_is_deleted<B: Bench>() {
    let bench = B::new(super::options());
    let engine = bench.engine();
    let blobs = engine.blobs();
    let (one, other) = (blobs.put(b"one".to_vec()).await.unwrap(), blobs.put(vec![7; 1 << 20]).await.unwrap());
    assert_eq!(one, BlobId::of(b"one"));
    assert_eq!(blobs.get(one).await.unwrap().as_deref(), Some(&b"one"[..]));
    let mut both = vec![one, other];
    both.sort_unstable();
    assert_eq!(blobs.list().await.unwrap(), both);
    assert_eq!((blobs.delete(one).await.unwrap(), blobs.delete(one).await.unwrap()), (true, false));
    assert_eq!((blobs.get(one).await.unwrap(), blobs.list().await.unwrap()), (None, vec![other]));
}

pub(super) async fn the_same_content_twice_is_one<B: Bench>() {
    let bench = B::new(super::options());
    let engine = bench.engine();
    let puts = futures_util::future::join_all((0..16).map(|_| engine.blobs().put(vec![1; 9_000]))).await;
    assert!(puts.iter().all(|put| *put.as_ref().unwrap() == BlobId::of(&[1; 9_000])));
    assert_eq!(engine.blobs().list().await.unwrap().len(), 1);
}

pub(super) async fn contents_outlive_the_process<B: Bench>() {
    let bench = B::new(super::options());
    let id = bench.engine().blobs().put(b"one".to_vec()).await.unwrap();
    let bench = bench.reopen(End::Died).await;
    assert_eq!(bench.engine().blobs().get(id).await.unwrap().as_deref(), Some(&b"one"[..]));
}
