//! Certificates: who issues them, for whom, and when they are replaced.
