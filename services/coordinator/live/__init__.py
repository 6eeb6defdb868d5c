"""The live state, in Redis or Valkey: it can be lost."""
