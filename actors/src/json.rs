//! JSON forms that differ from those of serde: hashes in hex, durations in milliseconds, pairs as objects.

/// 32 bytes as 64 hex digits.
pub(crate) mod hex {
    use schema::DocumentId;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        DocumentId(*bytes).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        DocumentId::deserialize(deserializer).map(|id| id.0)
    }
}

/// A span of time as whole milliseconds.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        span.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
    }
}

/// A span of time that is always known as whole milliseconds.
pub(crate) mod whole_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        super::millis::serialize(&Some(*span), serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// Pairs of a document and what is amiss with it as `{"document", "why"}`.
pub(crate) mod by_document {
    use schema::DocumentId;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Entry<T> {
        document: DocumentId,
        why: T,
    }

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        pairs: &[(DocumentId, T)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(pairs.iter().map(|(document, why)| Entry { document: *document, why }))
    }

    pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(DocumentId, T)>, D::Error> {
        let entries = Vec::<Entry<T>>::deserialize(deserializer)?;
        Ok(entries.into_iter().map(|entry| (entry.document, entry.why)).collect())
    }
}
