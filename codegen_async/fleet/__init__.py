"""One budget and one set of looks for many processes that use the same token.

A budget is a small record, the board, that every member reads and replaces whole. Its rules are pure (`board`, `clock`,
`records`); where it lies is a store of one method (`store`): a file, PostgreSQL, Redis or Valkey. Imported only where
`fleet=` is given: one process alone pays nothing for it.
"""
