"""What users say about answers: kept in the workspace, and made into examples and questions."""
