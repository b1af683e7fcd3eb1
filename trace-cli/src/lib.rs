//! pktjourney: see ARCHITECTURE.md.
