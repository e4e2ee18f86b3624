"""What users write by mistake: each line is an error to a type checker."""

from skrebatch import ReBatchCNNClassifier, redistribution_size

ReBatchCNNClassifier(ratoi=0.1)
ReBatchCNNClassifier(0.1)
ReBatchCNNClassifier(ratio="large")
ReBatchCNNClassifier(strategy=3)
ReBatchCNNClassifier().fit([[0.0], [1.0]])
redistribution_size("many", 0.1)
