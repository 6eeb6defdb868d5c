"""The learner: model, data, training, and what becomes of its work. No network."""
