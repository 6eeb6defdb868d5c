"""The learner: model, data and the training loop. No round."""
