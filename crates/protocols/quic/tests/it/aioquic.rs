//! A peer in Python that its own authors wrote: `aioquic`.
