"""What more than one process of Trimtab needs: the nouns. Never imports fastapi or celery."""
