"""Training classifiers of collections. scikit-learn (the extra ``train``) is imported when it is needed."""
