//! Page-table entries of a domain (section 2.2.3).
