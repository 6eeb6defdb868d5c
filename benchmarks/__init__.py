"""One script per published table; results/ holds their committed numbers."""
