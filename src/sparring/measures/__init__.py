"""Pure measures of features, predictions and embeddings, used by training and evaluation."""
